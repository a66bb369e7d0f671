//! Groups of parameters: a pure function of a row of the parameter table.

use crate::Pull;
use hone_tensor::{Depth, Kind, Param, ParamTable};

/// Rates and decay by place and kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupPolicy {
    /// Rate of the top encoder layer.
    pub lr: f64,
    /// Rate of pooler and classifier.
    pub head_lr: f64,
    /// ξ: each encoder layer's rate is ξ times that of the layer above, the embeddings' once more
    /// (Sun et al. 2019, "How to fine-tune BERT for text classification", §5.3).
    pub layer_decay: f64,
    /// Weight decay of matrices and embeddings; biases and LayerNorm have none.
    pub weight_decay: f64,
    /// Encoder layers.
    pub layers: usize,
}

/// What a parameter gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Peak learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decoupled decay towards where it began.
    pub start_decay: f64,
    /// Whether it is ever trained.
    pub trained: bool,
}

/// The groups of a whole table.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    rows: Vec<Group>,
    policy: GroupPolicy,
    lines: Vec<String>,
}

impl GroupPolicy {
    /// Peak rate at a depth.
    pub fn lr_at(&self, depth: Depth) -> f64 {
        let below_top = match depth {
            Depth::Pooler | Depth::Head => return self.head_lr,
            Depth::Layer(l) => self.layers.saturating_sub(l + 1),
            Depth::Embeddings => self.layers,
        };
        self.lr * self.layer_decay.powi(below_top as i32)
    }

    /// Rate and decay of one parameter.
    pub fn group(&self, param: &Param, trained: bool) -> Group {
        let decayed = matches!(param.kind, Kind::Matrix | Kind::Embedding);
        Group {
            lr: self.lr_at(param.depth),
            weight_decay: if decayed { self.weight_decay } else { 0.0 },
            start_decay: 0.0,
            trained,
        }
    }

    /// The groups of a table; `trained(row)` says what is ever trained.
    pub fn groups(&self, table: &ParamTable, trained: impl Fn(usize) -> bool) -> Groups {
        let rows: Vec<Group> = table
            .params()
            .iter()
            .enumerate()
            .map(|(row, param)| self.group(param, trained(row)))
            .collect();
        let lines = lines(self, table, &rows);
        Groups {
            rows,
            policy: *self,
            lines,
        }
    }
}

impl Groups {
    /// Lets the parameters that `pretrained` names decay towards where they began instead of towards zero, biases
    /// and LayerNorm too (L2-SP, Li et al. 2018, "Explicit inductive bias for transfer learning", in AdamW's form).
    /// `rates` is the sum of the top layer's over the run.
    pub fn with_start_decay(
        mut self,
        pull: Pull,
        rates: f64,
        table: &ParamTable,
        pretrained: impl Fn(usize) -> bool,
    ) -> Groups {
        let (decay, part) = (pull.rate(rates), pull.part(rates));
        let (mut tensors, mut numbers) = (0, 0);
        for (row, group) in self.rows.iter_mut().enumerate() {
            if group.trained && pretrained(row) {
                (group.weight_decay, group.start_decay) = (0.0, decay);
                tensors += 1;
                numbers += table.params()[row].len();
            }
        }
        self.lines = lines(&self.policy, table, &self.rows);
        self.lines.insert(
            1,
            format!(
                "decayed towards where they began {tensors} tensors {}: without gradients {:.2} % of the way over the run{}",
                count(numbers),
                100.0 * part,
                match part < Pull::LEAST {
                    true => format!(
                        ", too little to matter (half of it: --l2-sp 50%, here {:.1e})",
                        Pull::Part(0.5).rate(rates)
                    ),
                    false => String::new(),
                }
            ),
        );
        self
    }

    /// By row of the table.
    pub fn rows(&self) -> &[Group] {
        &self.rows
    }

    /// Peak rate of the top encoder layer.
    pub fn body_lr(&self) -> f64 {
        self.policy.lr
    }

    /// Peak rate of the head.
    pub fn head_lr(&self) -> f64 {
        self.policy.head_lr
    }

    /// What is printed at the start of a run.
    pub fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }
}

/// `1234567` as `1.2 M`.
fn count(n: usize) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.0} k", n as f64 / 1e3),
        _ => format!("{:.1} M", n as f64 / 1e6),
    }
}

fn lines(policy: &GroupPolicy, table: &ParamTable, rows: &[Group]) -> Vec<String> {
    let tally = |want: &dyn Fn(&Group) -> bool| {
        let chosen = table.params().iter().zip(rows).filter(|(_, g)| want(g));
        let (mut tensors, mut numbers) = (0, 0);
        for (param, _) in chosen {
            tensors += 1;
            numbers += param.len();
        }
        match tensors {
            0 => "0".to_owned(),
            _ => format!("{tensors} tensors {}", count(numbers)),
        }
    };
    let mut lines = vec![format!(
        "decayed {}, undecayed {}, frozen {}",
        tally(&|g| g.trained && g.weight_decay > 0.0),
        tally(&|g| g.trained && g.weight_decay == 0.0 && g.start_decay == 0.0),
        tally(&|g| !g.trained),
    )];
    let mut rates = vec![format!("head {:.2e}", policy.head_lr)];
    let trained_at = |depth: Depth| {
        table
            .params()
            .iter()
            .zip(rows)
            .any(|(p, g)| p.depth == depth && g.trained)
    };
    let body: Vec<Depth> = (0..policy.layers)
        .rev()
        .map(Depth::Layer)
        .chain([Depth::Embeddings])
        .collect();
    if policy.layer_decay == 1.0 && body.iter().all(|&d| trained_at(d)) {
        rates.push(format!("body {:.2e}", policy.lr));
    } else {
        for depth in body {
            let name = match depth {
                Depth::Layer(l) => format!("layer {l}"),
                _ => "embeddings".to_owned(),
            };
            rates.push(match trained_at(depth) {
                true => format!("{name} {:.2e}", policy.lr_at(depth)),
                false => format!("{name} frozen"),
            });
        }
    }
    lines.push(format!("peak learning rates: {}", rates.join(", ")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ParamTable {
        let mut t = ParamTable::builder();
        t.push("e", &[10, 4], Depth::Embeddings, Kind::Embedding);
        t.push("n", &[4], Depth::Embeddings, Kind::NormWeight);
        t.push("w0", &[4, 4], Depth::Layer(0), Kind::Matrix);
        t.push("b0", &[4], Depth::Layer(0), Kind::Bias);
        t.push("w1", &[4, 4], Depth::Layer(1), Kind::Matrix);
        t.push("p", &[4, 4], Depth::Pooler, Kind::Matrix);
        t.push("c", &[2], Depth::Head, Kind::Bias);
        t.build()
    }

    #[test]
    fn rates_and_decay_by_place_and_kind() {
        let policy = GroupPolicy {
            lr: 1e-3,
            head_lr: 5e-3,
            layer_decay: 0.5,
            weight_decay: 0.01,
            layers: 2,
        };
        let groups = policy.groups(&table(), |row| row != 0);
        let want = [
            (2.5e-4, 0.01, false),
            (2.5e-4, 0.0, true),
            (5e-4, 0.01, true),
            (5e-4, 0.0, true),
            (1e-3, 0.01, true),
            (5e-3, 0.01, true),
            (5e-3, 0.0, true),
        ];
        for (g, (lr, wd, trained)) in groups.rows().iter().zip(want) {
            assert_eq!((g.weight_decay, g.trained), (wd, trained));
            assert!((g.lr - lr).abs() < 1e-18);
        }
        assert_eq!(
            groups.lines()[0],
            "decayed 3 tensors 48, undecayed 3 tensors 10, frozen 1 tensors 40"
        );
        assert!(groups.lines()[1].contains("layer 0 5.00e-4"));
        // Rows 1 to 4 were pre-trained; the frozen word table and the head stay as they are.
        let groups = groups.with_start_decay(Pull::Rate(0.1), 3.0, &table(), |row| row < 5);
        for (row, (g, (_, wd, _))) in groups.rows().iter().zip(want).enumerate() {
            let anchored = (1..5).contains(&row);
            let decays = if anchored { (0.0, 0.1) } else { (wd, 0.0) };
            assert_eq!((g.weight_decay, g.start_decay), decays, "row {row}");
        }
        assert_eq!(
            groups.lines()[..2],
            [
                "decayed 1 tensors 16, undecayed 1 tensors 2, frozen 1 tensors 40",
                "decayed towards where they began 4 tensors 40: without gradients 25.92 % of the way over the run"
            ]
        );
        let weak = groups.with_start_decay(Pull::Rate(0.01), 0.05, &table(), |row| row < 5);
        let line = &weak.lines()[1];
        assert!(line.ends_with("0.05 % of the way over the run, too little to matter (half of it: --l2-sp 50%, here 1.4e1)"), "{line}");
    }
}
