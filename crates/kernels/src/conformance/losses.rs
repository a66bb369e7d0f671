//! Losses and their gradients.

use super::Rig;
use crate::{Backend, Loss};

pub(super) fn run<B: Backend>(rig: &mut Rig<'_, B>) {
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
