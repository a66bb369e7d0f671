// Copies from device to shared memory that run beside their thread, without a register.

// Begins a copy of BYTES (4 or 16) from device to shared memory; zeros where `there` is false.
template <int BYTES>
__device__ inline void copy_async(void* to, const void* from, bool there) {
#ifdef __CUDA_ARCH__
    const u32 at = (u32)__cvta_generic_to_shared(to), bytes = there ? BYTES : 0;
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
#else
    emulated_copy_async(to, from, BYTES, there);
#endif
}

// The copies begun so far are a group.
__device__ inline void commit_copies() {
#ifdef __CUDA_ARCH__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    emulated_commit_copies();
#endif
}

// Waits for this thread's copies, but for the last LEFT groups.
template <int LEFT>
__device__ inline void wait_for_copies() {
#ifdef __CUDA_ARCH__
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#else
    emulated_wait_for_copies(LEFT);
#endif
}
