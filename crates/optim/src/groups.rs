//! Groups of parameters: a pure function of a row of the parameter table.

use crate::{Multipliers, OptimError, Pull};
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
    /// `multipliers` are a row's over the steps in which it is awake: a part of the way is one for every tensor, whatever
    /// its rate, so each has a λ of its own. One that in a step would go further than the whole way back is an error.
    pub fn with_start_decay(
        mut self,
        pull: Pull,
        multipliers: impl Fn(usize) -> Multipliers,
        table: &ParamTable,
        pretrained: impl Fn(usize) -> bool,
    ) -> Result<Groups, OptimError> {
        let (mut tensors, mut numbers) = (0, 0);
        let mut parts = Parts::NONE;
        for (row, group) in self.rows.iter_mut().enumerate() {
            if group.trained && pretrained(row) {
                let by = multipliers(row);
                let rates = group.lr * by.sum;
                let decay = pull.rate(rates);
                let step = group.lr * by.largest * decay;
                if step > 1.0 {
                    return Err(OptimError::Pull {
                        pull: pull.into(),
                        tensor: table.params()[row].name.clone(),
                        rate: group.lr * by.largest,
                        step,
                    });
                }
                (group.weight_decay, group.start_decay) = (0.0, decay);
                parts.take(pull.part(rates));
                tensors += 1;
                numbers += table.params()[row].len();
            }
        }
        self.lines = lines(&self.policy, table, &self.rows);
        self.lines.insert(
            1,
            format!(
                "decayed towards where they began {tensors} tensors {}: without gradients {parts} of the way over the run{}",
                count(numbers),
                match parts.most < Pull::LEAST {
                    true => ", too little to matter (half of it: --l2-sp 50%)",
                    false => "",
                }
            ),
        );
        Ok(self)
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

/// The parts of the way that tensors go back, from the least to the most.
struct Parts {
    least: f64,
    most: f64,
}

impl Parts {
    const NONE: Parts = Parts {
        least: f64::INFINITY,
        most: 0.0,
    };

    fn take(&mut self, part: f64) {
        self.least = self.least.min(part);
        self.most = self.most.max(part);
    }
}

impl std::fmt::Display for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [least, most] =
            [self.least.min(self.most), self.most].map(|x| format!("{:.2}", 100.0 * x));
        match least == most {
            true => write!(f, "{most} %"),
            false => write!(f, "{least} to {most} %"),
        }
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
        assert_eq!((groups.body_lr(), groups.head_lr()), (1e-3, 5e-3));
        let top = policy.groups(&table(), |row| row > 3);
        assert_eq!(
            top.lines()[1],
            "peak learning rates: head 5.00e-3, layer 1 1.00e-3, layer 0 frozen, embeddings frozen"
        );
        let even = GroupPolicy {
            layer_decay: 1.0,
            ..policy
        }
        .groups(&table(), |_| true);
        assert_eq!(
            even.lines(),
            [
                "decayed 4 tensors 88, undecayed 3 tensors 10, frozen 0",
                "peak learning rates: head 5.00e-3, body 1.00e-3"
            ]
        );
        // Rows 1 to 4 were pre-trained; the frozen word table and the head stay as they are.
        let groups = drawn_back(groups, Pull::Rate(0.1), 3000.0).unwrap();
        for (row, (g, (_, wd, _))) in groups.rows().iter().zip(want).enumerate() {
            let anchored = (1..5).contains(&row);
            let decays = if anchored { (0.0, 0.1) } else { (wd, 0.0) };
            assert_eq!((g.weight_decay, g.start_decay), decays, "row {row}");
        }
        assert_eq!(
            groups.lines()[..2],
            [
                "decayed 1 tensors 16, undecayed 1 tensors 2, frozen 1 tensors 40",
                "decayed towards where they began 4 tensors 40: without gradients 7.23 to 25.92 % of the way over the run"
            ]
        );
        let weak = drawn_back(groups, Pull::Rate(0.01), 50.0).unwrap();
        let line = &weak.lines()[1];
        assert!(
            line.ends_with(
                "0.01 to 0.05 % of the way over the run, too little to matter (half of it: --l2-sp 50%)"
            ),
            "{line}"
        );
    }

    #[test]
    fn counts_are_rounded_to_what_is_read_at_a_glance() {
        for (n, text) in [
            (9_999, "9999"),
            (10_000, "10 k"),
            (39_499, "39 k"),
            (1_000_000, "1.0 M"),
            (22_713_216, "22.7 M"),
        ] {
            assert_eq!(count(n), text);
        }
    }

    fn drawn_back(groups: Groups, pull: Pull, sum: f64) -> Result<Groups, OptimError> {
        let by = Multipliers { sum, largest: 0.5 };
        groups.with_start_decay(pull, |_| by, &table(), |row| row < 5)
    }

    /// Against the steps themselves, w ← w − η·λ·(w − w⁰): a rate of ten times the top layer's or of a fraction of it
    /// goes the same part of the way, and so does what wakes half-way.
    #[test]
    fn a_part_of_the_way_is_one_for_every_rate() {
        let policy = GroupPolicy {
            lr: 1e-4,
            head_lr: 1e-3,
            layer_decay: 0.5,
            weight_decay: 0.01,
            layers: 2,
        };
        let factors: Vec<f64> = (0..1000).map(|k| 1.0 - f64::from(k) / 1000.0).collect();
        let awake = |row: usize| &factors[if row == 2 { 500 } else { 0 }..];
        let by = |row: usize| Multipliers {
            sum: awake(row).iter().sum(),
            largest: awake(row)[0],
        };
        for part in [0.1, 0.5, 0.999] {
            let groups = policy
                .groups(&table(), |_| true)
                .with_start_decay(Pull::Part(part), by, &table(), |row| row < 6)
                .unwrap();
            for (row, group) in groups.rows()[..6].iter().enumerate() {
                let away = awake(row).iter().fold(1.0, |away, factor| {
                    away * (1.0 - group.lr * factor * group.start_decay)
                });
                assert!((1.0 - away - part).abs() < 2e-2 * part, "row {row}: {away}");
            }
            let line = &groups.lines()[1];
            let says = format!("without gradients {:.2} % of the way", 100.0 * part);
            assert!(line.contains(&says), "{line}");
        }
        // What never moves is not drawn back either.
        let groups = policy
            .groups(&table(), |_| true)
            .with_start_decay(Pull::Part(0.5), |_| Multipliers::NONE, &table(), |_| true)
            .unwrap();
        assert!(groups.rows().iter().all(|g| g.start_decay == 0.0));
    }

    #[test]
    fn more_than_the_whole_way_in_a_step_is_refused() {
        let policy = GroupPolicy {
            lr: 1e-3,
            head_lr: 1e-2,
            layer_decay: 1.0,
            weight_decay: 0.01,
            layers: 2,
        };
        let groups = || policy.groups(&table(), |_| true);
        assert!(drawn_back(groups(), Pull::Rate(2000.0), 50.0).is_ok());
        let said = drawn_back(groups(), Pull::Rate(3000.0), 50.0).unwrap_err();
        assert_eq!(
            said.to_string(),
            "--l2-sp 3000: at its peak rate of 5.00e-4 a step would take e 1.50 times the way back to where it began; \
             give less, or a part of the way such as 50%"
        );
        // Three steps of one rate that together are to go 99.9 % of the way.
        assert!(drawn_back(groups(), Pull::Part(0.999), 3.0).is_err());
        assert!(drawn_back(groups(), Pull::Part(0.5), 1.0).is_ok());
    }
}
