//! What is asked of a model once it is trained, in this order: a temperature, what it says of the validation and the test
//! rows, a threshold of abstention. Then it is summed up and saved.

use crate::abstain::{Abstain, Abstention};
use crate::calibrate::{Answers, Calibration};
use crate::evaluate::{EvalBatches, Prediction, predict};
use crate::events::{Event, Sink};
use crate::examples::Targets;
use crate::fit::{Fit, Fitted, Prepared, Texts};
use crate::held_out::HeldOut;
use crate::job::Job;
use crate::reading::{Reading, Sureness, read_set};
use crate::row_lists::Listed;
use crate::save::{PAIRS, save_summary};
use crate::summary::{PartSummary, Summary};
use crate::{Ending, Examples, Select, TrainError};
use hone_bert::Model;
use hone_data::{Part, are_pairs};
use hone_kernels::Backend;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Reads whole sets with a finished model, says how far it is, and gives up where the user asks to stop.
struct Reader<'a> {
    sink: &'a mut dyn Sink,
    stop: &'a AtomicBool,
    started: Instant,
}

/// What was found after the last step.
#[derive(Default)]
struct Found {
    calibration: Option<Calibration>,
    valid: Option<Reading>,
    test: Option<Reading>,
    /// Parts whose reading was interrupted, where nothing but their figures is missing.
    unread: Vec<&'static str>,
    abstention: Option<Abstention>,
    /// Whether the run is to be gone on with: the model is not what was asked for yet.
    interrupted: bool,
}

/// The set whose rows are listed.
struct ListedSet<'a> {
    name: &'static str,
    reading: &'a Reading,
    examples: &'a Examples,
    part: &'a Part,
}

impl Job<'_> {
    /// Fits, measures and, where there is an output folder, saves: a run on texts that are already tokens.
    pub fn conclude<B: Backend>(
        &self,
        texts: &Texts,
        fit: Fit<'_, B>,
        by: HeldOut<'_>,
        backend: Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
        started: Instant,
    ) -> Result<(Model<B>, Summary, Ending), TrainError> {
        let held_out = by.rows(texts.valid.as_ref().map(|v| &v.examples));
        self.can_conclude(held_out, by.name())?;
        self.can_save()?;
        let keep = self.adds_to_the_model();
        let mut fitted = self.fit_and_keep(fit, keep, backend, sink, stop)?;
        let mut reader = Reader {
            sink,
            stop,
            started,
        };
        let found = self.ask(&mut fitted, texts, by, &mut reader)?;
        let pairs = are_pairs(&self.data.train.rows);
        let fields = fitted.model.fields_mut();
        fields.insert(PAIRS.to_owned(), pairs.into());
        let ending = match found.interrupted {
            true => Ending::Interrupted,
            false => fitted.outcome.ending,
        };
        let listed = found.listed(self, texts);
        let labels = fitted.model.labels();
        let rows = listed.as_ref().map(|set| set.summary(labels));
        let summary = self.summary(&fitted, texts, &found, rows, ending, started);
        if let (Some(out), false) = (self.out, found.interrupted) {
            self.save_model(&fitted.model, out)?;
            if let Some(set) = &listed {
                set.write(out, labels)?;
            }
            save_summary(&summary, out)?;
        }
        Ok((fitted.model, summary, ending))
    }

    /// Whether what is found after the last step goes into the model: cut off there, it is to be found again.
    fn adds_to_the_model(&self) -> bool {
        self.options.calibrate || self.options.abstain_precision.is_some()
    }

    /// Asks a trained model what the options want to know of it.
    fn ask<B: Backend>(
        &self,
        fitted: &mut Fitted<B>,
        texts: &Texts,
        by: HeldOut<'_>,
        reader: &mut Reader<'_>,
    ) -> Result<Found, TrainError> {
        let mut found = Found {
            interrupted: fitted.outcome.ending == Ending::Interrupted,
            ..Found::default()
        };
        if self.options.calibrate && !found.interrupted {
            found.calibration = self.calibrate(&mut fitted.model, texts, by, reader)?;
            found.interrupted = found.calibration.is_none();
        }
        // What the last validation said was said without the temperature.
        let last = fitted.outcome.valid.take();
        found.valid = last.filter(|_| found.calibration.is_none());
        if found.interrupted {
            return Ok(found);
        }
        let parts = [
            ("valid", &texts.valid, &mut found.valid),
            ("test", &texts.test, &mut found.test),
        ];
        for (name, part, reading) in parts {
            if let (Some(part), None) = (part, &reading) {
                *reading = reader.reading(&fitted.model, &part.examples)?;
                if reading.is_none() {
                    found.unread.push(name);
                }
            }
        }
        if !found.unread.is_empty() {
            found.interrupted = self.adds_to_the_model();
            if !found.interrupted {
                let text = "interrupted while validation or test texts were read: their figures are missing; hone eval gives them";
                reader.sink.event(&Event::Warning { text: text.into() });
            }
        }
        if !found.interrupted {
            found.abstention = self.abstain(&mut fitted.model, by, &found)?;
        }
        Ok(found)
    }

    /// Finds the temperature and divides the model's logits by it; `None` where the user asked to stop.
    fn calibrate<B: Backend>(
        &self,
        model: &mut Model<B>,
        texts: &Texts,
        by: HeldOut<'_>,
        reader: &mut Reader<'_>,
    ) -> Result<Option<Calibration>, TrainError> {
        let mut answers =
            |part: &Option<Prepared>| part.as_ref().map(|p| reader.answers(model, &p.examples));
        let held_out = match by {
            HeldOut::OutOfFold(answers) => Some(answers.clone()),
            HeldOut::Valid => answers(&texts.valid).transpose()?.flatten(),
        };
        let Some(held_out) = held_out else {
            return Ok(None);
        };
        let tested = match answers(&texts.test).transpose()? {
            Some(None) => return Ok(None),
            tested => tested.flatten(),
        };
        let temperature = by.temperature(&held_out)?;
        let seed = self.options.seed;
        model.divide_logits(temperature)?;
        Ok(Some(Calibration {
            temperature,
            by: by.name(),
            held_out: held_out.change(temperature, seed),
            test: tested.map(|t| t.change(temperature, seed)),
        }))
    }

    /// Finds the threshold of abstention and writes it into the model's configuration.
    fn abstain<B: Backend>(
        &self,
        model: &mut Model<B>,
        by: HeldOut<'_>,
        found: &Found,
    ) -> Result<Option<Abstention>, TrainError> {
        fn sureness(reading: &Option<Reading>) -> Option<&[Sureness]> {
            reading.as_ref().map(|r| &r.sureness[..])
        }
        let divided = found.calibration.as_ref().map_or(1.0, |c| c.temperature);
        let held_out = by.sureness(divided, sureness(&found.valid));
        let (Some(wanted), Some(held_out)) = (self.options.abstain_precision, held_out) else {
            return Ok(None);
        };
        let abstention = Abstention::of(wanted, by, &held_out, sureness(&found.test));
        Abstain::write(abstention.rule.as_ref(), model.fields_mut())?;
        Ok(Some(abstention))
    }

    /// Sums the run up.
    fn summary<B: Backend>(
        &self,
        fitted: &Fitted<B>,
        texts: &Texts,
        found: &Found,
        listed: Option<Listed>,
        ending: Ending,
        started: Instant,
    ) -> Summary {
        let Fitted {
            model,
            outcome,
            hashes,
            weights,
        } = fitted;
        let selected = self.options.select == Select::Best || outcome.ending == Ending::Early;
        let part = |reading: &Option<Reading>, part: &Option<Prepared>, selected: bool| {
            Some(PartSummary {
                used_for_selection: selected,
                metrics: reading.as_ref()?.metrics.clone(),
                texts: part.as_ref()?.receipt.clone(),
            })
        };
        let (receipt, seed) = (&texts.train.receipt, self.options.seed);
        Summary {
            valid: part(&found.valid, &texts.valid, selected),
            test: part(&found.test, &texts.test, false),
            calibration: found.calibration.clone(),
            abstention: found.abstention.clone(),
            listed,
            ending: ending.name(),
            unread: found.unread.clone(),
            recipe: self.recipe.cloned(),
            ..Summary::of(model, outcome, receipt, (hashes, weights), seed, started)
        }
    }
}

impl Reader<'_> {
    /// Hears how many rows of a set are read; false where the user asked to stop.
    fn heard(&mut self, rows: usize, total: usize) -> bool {
        self.sink.event(&Event::Evaluating {
            rows,
            total,
            seconds: self.started.elapsed().as_secs_f64(),
        });
        !self.stop.load(Ordering::SeqCst)
    }

    /// All that is said of a set; `None` where the user asked to stop.
    fn reading<B: Backend>(
        &mut self,
        model: &Model<B>,
        examples: &Examples,
    ) -> Result<Option<Reading>, TrainError> {
        let batches = EvalBatches::USUAL;
        let mut acts = model.plan_eval(batches.limits(examples))?;
        read_set(model, &mut acts, examples, batches, |rows| {
            self.heard(rows, examples.len())
        })
    }

    /// Logits and labels of a set, rows without a known label left out; `None` where the user asked to stop.
    fn answers<B: Backend>(
        &mut self,
        model: &Model<B>,
        examples: &Examples,
    ) -> Result<Option<Answers>, TrainError> {
        let batches = EvalBatches::USUAL;
        let mut acts = model.plan_eval(batches.limits(examples))?;
        let mut all = Answers::new(model.classes());
        let mut each = |p: Prediction<'_>| {
            if let Targets::Classes(classes) = &examples.targets
                && let Some(class) = classes[p.index]
            {
                all.push(p.logits, class as usize);
            }
        };
        let whole = predict(model, &mut acts, examples, batches, &mut each, |rows| {
            self.heard(rows, examples.len())
        })?;
        Ok(whole.then_some(all))
    }
}

impl Found {
    /// The set whose rows are listed: the test part, else the validation part; none where the run is to be gone on with.
    fn listed<'a>(&'a self, job: &'a Job<'_>, texts: &'a Texts) -> Option<ListedSet<'a>> {
        if self.interrupted {
            return None;
        }
        let sets = [
            ("test", &self.test, &texts.test, &job.data.test),
            ("valid", &self.valid, &texts.valid, &job.data.valid),
        ];
        sets.into_iter()
            .find_map(|(name, reading, prepared, part)| {
                Some(ListedSet {
                    name,
                    reading: reading.as_ref()?,
                    examples: &prepared.as_ref()?.examples,
                    part: part.as_ref()?,
                })
            })
    }
}

impl ListedSet<'_> {
    fn summary(&self, labels: &[String]) -> Listed {
        let lists = &self.reading.lists;
        lists.summary(self.name, self.examples, self.part, labels)
    }

    fn write(&self, out: &Path, labels: &[String]) -> Result<(), TrainError> {
        let lists = &self.reading.lists;
        lists.write_both(out, self.examples, self.part, labels)
    }
}
