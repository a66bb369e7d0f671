//! Properties of whole rows: what is protected stays, draws depend on their key alone, shares are as stated.
