//! A run that collapses: what is watched, what is said, and whether the run begins anew.

use crate::TrainError;
use crate::events::Event;
use crate::training::Training;
use crate::watch::{Collapse, CollapseGuard, ConstantAnswer, Guard, Restart};
use hone_kernels::Backend;

impl<B: Backend> Training<'_, B> {
    /// The guard of a run of so many steps; `None` where it is off or the run is too short to be judged.
    pub(crate) fn guard(&mut self, steps: usize) -> Result<Option<Guard>, TrainError> {
        let options = self.options;
        let mode = options.collapse_guard;
        let at = Guard::judged_at(options.rising_steps(steps), steps);
        // Those losses are no entropies: the constant answer costs something else.
        let other = options.focal_loss > 0.0 || options.r_drop > 0.0;
        match (mode, at) {
            (CollapseGuard::Off, _) => return Ok(None),
            (CollapseGuard::Restart, _) if other => {
                return Err(TrainError::Option(
                    "--collapse-guard restart compares the training loss with the entropy of the labels, which is \
                     another quantity under --focal-loss or --r-drop: leave one of them out"
                        .to_owned(),
                ));
            }
            (CollapseGuard::Warn, Some(_)) if other => {
                let text = "no collapse guard: under --focal-loss or --r-drop the training loss is no entropy";
                self.sink.event(&Event::Note { text: text.into() });
                return Ok(None);
            }
            _ => {}
        }
        let constant = ConstantAnswer::best(
            self.model.task(),
            self.model.classes(),
            self.train,
            &self.rule(),
        );
        if mode == CollapseGuard::Restart && self.restart.is_none() {
            let text = match at {
                Some(at) => format!(
                    "collapse guard: from step {} to step {at} the training loss must be below what the labels' \
                     shares alone would cost ({:.4} over all texts), else the run begins anew with a quarter of the rate",
                    at / 2 + 1,
                    constant.mean_loss(self.train, &self.rule())
                ),
                None => {
                    "collapse guard: the run is too short, or its warm-up too long, to be judged"
                        .to_owned()
                }
            };
            self.sink.event(&Event::Note { text });
        }
        Ok(at.map(|at| Guard::new(constant, at)))
    }

    /// Says that the run collapsed; whether it is to begin anew.
    pub(crate) fn collapsed(&mut self, collapse: Collapse, steps: usize) -> bool {
        let again = self.options.collapse_guard == CollapseGuard::Restart && self.restart.is_none();
        let restart = again.then(|| Restart::after(collapse, self.options, steps));
        self.sink.event(&Event::Collapsed { collapse, restart });
        self.restart = self.restart.or(restart);
        again
    }
}
