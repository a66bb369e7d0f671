//! Losses and their gradients.

use super::Rig;
use crate::{Backend, Contrast, Loss};

pub(super) fn run<B: Backend>(rig: &mut Rig<'_, B>) {
    contrasts(rig);
    let b = rig.b;
    for (rows, classes) in [
        (1, 1),
        (5, 2),
        (9, 3),
        (8, 2),
        (33, 19),
        (4, 300),
        (3, 2500),
    ] {
        let logits: Vec<f64> = rig
            .numbers(rows * classes)
            .iter()
            .map(|x| 8.0 * x)
            .collect();
        let logits = rig.master(&logits);
        // Soft targets: shares that sum to 1, and on every other row (smoothed under class weights) to more.
        let mut soft = rig.numbers(rows * classes);
        for (r, row) in soft.chunks_mut(classes).enumerate() {
            row.iter_mut().for_each(|x| *x = x.abs() + 0.01);
            let total: f64 = row.iter().sum::<f64>() / [1.0, 1.75][r % 2];
            row.iter_mut()
                .for_each(|x| *x = f64::from((*x / total) as f32));
        }
        let soft = rig.master(&soft);
        let marks: Vec<f64> = rig
            .numbers(rows * classes)
            .iter()
            .map(|&x| f64::from(x > 0.0))
            .collect();
        let marks = rig.master(&marks);
        let values = rig.masters(rows * classes);
        // One row is left out.
        let mut weights: Vec<f64> = rig.numbers(rows).iter().map(|x| x.abs()).collect();
        weights[rows / 2] = if rows > 1 { 0.0 } else { 0.5 };
        let weights = rig.master(&weights);
        let size = format!("{rows}x{classes}");
        let class: Vec<u32> = (0..rows).map(|r| (7 * r % classes) as u32).collect();
        let class = b.from_slice(&class).expect("memory");
        let mut losses = b.from_slice(&vec![0.0f64; rows]).expect("memory");
        let mut dlogits = rig.masters(rows * classes);
        b.class_loss(
            b.view(&logits),
            b.view(&class),
            b.view(&weights),
            b.all_mut(&mut losses),
            b.all_mut(&mut dlogits),
        );
        rig.keep(format!("class_loss {size}, losses"), &losses);
        rig.keep(format!("class_loss {size}, dlogits"), &dlogits);
        for kind in 0..4 {
            let targets = [&soft, &soft, &marks, &values][kind];
            let loss = Loss {
                logits: b.view(&logits),
                targets: b.view(targets),
                weights: b.view(&weights),
                classes,
            };
            let mut losses = b.from_slice(&vec![0.0f64; rows]).expect("memory");
            let mut dlogits = rig.masters(rows * classes);
            let name = match kind {
                0 | 1 => {
                    let focal = [0.0, 2.0][kind];
                    b.softmax_loss(loss, focal, b.all_mut(&mut losses), b.all_mut(&mut dlogits));
                    format!("softmax_loss {size}, focal {focal}")
                }
                2 => {
                    b.sigmoid_loss(loss, b.all_mut(&mut losses), b.all_mut(&mut dlogits));
                    format!("sigmoid_loss {size}")
                }
                _ => {
                    b.squared_loss(loss, b.all_mut(&mut losses), b.all_mut(&mut dlogits));
                    format!("squared_loss {size}")
                }
            };
            rig.keep(format!("{name}, losses"), &losses);
            rig.keep(format!("{name}, dlogits"), &dlogits);
            if kind == 0 && rows % 2 == 0 {
                b.symmetric_kl(loss, 0.7, b.all_mut(&mut losses), b.all_mut(&mut dlogits));
                rig.keep(format!("symmetric_kl {size}, losses"), &losses);
                rig.keep(format!("symmetric_kl {size}, dlogits"), &dlogits);
            }
        }
    }
}

/// Rows of which some have company of their class, some have none, some have no weight and one is all zeros.
fn contrasts<B: Backend>(rig: &mut Rig<'_, B>) {
    let b = rig.b;
    for (rows, width, classes, temperature) in [
        (1, 8, 2, 0.3),
        (2, 5, 2, 0.3),
        (7, 33, 3, 0.05),
        (16, 384, 6, 0.3),
        (40, 70, 3, 1.0),
        (65, 264, 40, 0.1),
    ] {
        let contrast = Contrast {
            strength: 0.7,
            temperature,
        };
        let mut x = rig.numbers(rows * width);
        // Rows of a class lie near each other, as they do once something is learned.
        let middles = rig.numbers(classes * width);
        let class = |r: usize| (5 * r + r / 3) % classes;
        for (r, row) in x.chunks_mut(width).enumerate() {
            let middle = &middles[class(r) * width..][..width];
            row.iter_mut()
                .zip(middle)
                .for_each(|(x, m)| *x = f64::from((0.5 * *x + m) as f32));
        }
        if rows > 6 {
            x[4 * width..5 * width].fill(0.0);
        }
        let x = rig.act(&x);
        let smoothed = |r: usize, c: usize| if c == class(r) { 0.925 } else { 0.075 };
        let targets: Vec<f64> = (0..rows * classes)
            .map(|i| f64::from(smoothed(i / classes, i % classes) as f32))
            .collect();
        let targets = rig.master(&targets);
        let mut weights: Vec<f64> = rig.numbers(rows).iter().map(|w| w.abs()).collect();
        // The last are there to fill up.
        weights[rows - rows / 5..].fill(0.0);
        let weights = rig.master(&weights);
        let before = rig.numbers(rows);
        let mut losses = b.from_slice(&before).expect("memory");
        let mut kept = rig.masters(Contrast::kept(rows));
        let mut dx = rig.acts(rows * width);
        b.contrast(
            contrast,
            b.view(&x),
            b.view(&targets),
            b.view(&weights),
            b.all_mut(&mut losses),
            b.all_mut(&mut kept),
        );
        let size = format!("{rows}x{width}, {classes} classes");
        rig.keep(format!("contrast {size}, losses"), &losses);
        rig.keep_first(format!("contrast {size}, slopes"), &kept, rows * rows);
        b.contrast_backward(
            contrast,
            b.view(&x),
            width,
            b.view(&kept),
            b.all_mut(&mut dx),
        );
        rig.keep(format!("contrast_backward {size}, dx"), &dx);
    }
}
