//! `--recipe`: the facts that a recipe looks at, and its choices among the options as though they had been typed.
//!
//! Chosen once, before a run is recorded: `run.toml` has the numbers among its options, and which of them were chosen,
//! and why, as a table; what goes on (`--resume`) or is done again (`--config`) reads them there.

use crate::args::TrainArgs;
use crate::{interrupt, knowledge, settings};
use anyhow::{Result, anyhow, bail};
use hone_bert::{Config, Layout, holds_head};
use hone_data::{LabelSet, Labels, Part, TaskKind, Tokenizer};
use hone_kernels::Backend;
use hone_optim::Unfreeze;
use hone_report::Progress;
use hone_tensor::{Depth, ParamTable};
use hone_train::recipe::{
    Choice, Facts, Given, OPTIONS, Pools, Recipe, RecipeName, Setting, choose, measure, reads_pools,
};
use hone_train::{
    DataSource, JobData, KnownFeatures, Tokenising, Undivided, labelled, task_of, together,
};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// The table of `run.toml` that says what was chosen, and why.
pub const RECORD: &str = "recipe_chose";
/// Its key for what the recipe looked at.
const FACTS: &str = "facts";
/// Flags that need validation texts while training.
const WHILE_TRAINING: [&str; 2] = ["patience", "select"];
/// Flags that need texts the model did not see once it is trained.
const WHEN_DONE: [&str; 2] = ["calibrate", "abstain_precision"];

/// Where validation texts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Valid {
    /// The recipe may decide.
    Open,
    /// The same for a fold: what is learnt of the finished model comes from the texts that folds hold out.
    OpenInFolds,
    /// That is decided.
    Decided,
}

/// What a recipe is asked about.
pub struct Ask<'a> {
    pub args: &'a TrainArgs,
    pub config: &'a Config,
    pub model: &'a Path,
    pub kind: TaskKind,
    pub labels: &'a LabelSet,
    pub names: &'a [String],
    /// All training texts.
    pub train: &'a Part,
    /// Texts of each class; none: those of `train` are counted.
    pub classes: Option<Vec<usize>>,
    /// Texts of a fit, by the number of training texts.
    pub fit: &'a dyn Fn(usize) -> usize,
    pub valid: Valid,
    /// The folder of a run that may go on: its record is read first.
    pub out: Option<&'a Path>,
}

/// Options with the recipe's choices among them, and the recipe where there was one.
pub type Filled = (TrainArgs, Option<Recipe>);

/// Options with the recipe's choices among them, the recipe where there was one, and the data of a run that holds out its
/// own validation texts. Who that is is decided first, which needs no model; then the others say the rest. `None` where
/// the user asked to stop meanwhile.
pub fn divide<B: Backend>(
    args: &TrainArgs,
    config: &Config,
    model: &Path,
    source: &DataSource,
    found: Undivided,
    known: &KnownFeatures,
    backend: &Arc<B>,
) -> Result<Option<(JobData, Filled)>> {
    let texts = found.train.rows.len();
    let fit = |_| texts;
    let ask = Ask {
        args,
        config,
        model,
        kind: found.kind,
        labels: &found.labels,
        names: &found.names,
        train: &found.train,
        classes: None,
        fit: &fit,
        valid: match found.valid.is_some() || args.valid.is_some() {
            true => Valid::Decided,
            false => Valid::Open,
        },
        out: args.out.as_deref(),
    };
    let (valid, classes) = (ask.valid, Some(ask.count()?));
    let (decided, _) = ask.fill()?;
    let valid_source = match args.valid {
        Some(_) => source.valid.clone(),
        None => settings::valid_source(&decided)?,
    };
    let data = source.divide(found, &valid_source)?;
    let ask = Ask {
        classes,
        ..Ask::divided(args, config, model, &data, valid, &fit)
    };
    let filled = ask.fill_measured(&data.train, known, backend)?;
    Ok(filled.map(|filled| (data, filled)))
}

impl<'a> Ask<'a> {
    /// About the training texts of data that is divided.
    pub fn divided(
        args: &'a TrainArgs,
        config: &'a Config,
        model: &'a Path,
        data: &'a JobData,
        valid: Valid,
        fit: &'a dyn Fn(usize) -> usize,
    ) -> Ask<'a> {
        Ask {
            args,
            config,
            model,
            kind: data.kind,
            labels: &data.labels,
            names: &data.names,
            train: &data.train,
            classes: None,
            fit,
            valid,
            out: args.out.as_deref(),
        }
    }

    /// The choices that need no pass through the model: where validation texts come from is among them.
    fn fill(&self) -> Result<Filled> {
        let Some((facts, given)) = self.open()? else {
            return self.settled();
        };
        filled(self.args, choose(&facts, &given))
    }

    /// All choices; which tokens stand for a text is measured on the texts of `train`, where the recipe asks for it.
    /// What was read of them is known to the job then. `None` where the user asked to stop meanwhile.
    pub fn fill_measured<B: Backend>(
        &self,
        train: &Part,
        known: &KnownFeatures,
        backend: &Arc<B>,
    ) -> Result<Option<Filled>> {
        let Some((mut facts, given)) = self.open()? else {
            return self.settled().map(Some);
        };
        if reads_pools(&facts, &given) {
            // What is wrong is said before anything is measured.
            settings::options(self.args, self.config, facts.task, usize::MAX)?;
            let Some(pools) = self.measure(train, known, backend)? else {
                return Ok(None);
            };
            facts.pools = Some(pools);
        }
        filled(self.args, choose(&facts, &given)).map(Some)
    }

    /// Training texts of each class; of other tasks none are counted.
    fn count(&self) -> Result<Vec<usize>> {
        let mut classes = vec![0; self.labels.names().len()];
        if self.kind == TaskKind::Classify
            && let (Labels::Classes(all), _) =
                self.labels.labels(self.train, self.kind, self.names)?
        {
            for class in all.into_iter().flatten() {
                classes[class as usize] += 1;
            }
        }
        Ok(classes)
    }

    /// Where the recipe has nothing to choose: a recipe by name, or a record of what was chosen.
    fn settled(&self) -> Result<Filled> {
        let mut args = self.args.clone();
        match self.record()? {
            Some(record) if name(&args)? == RecipeName::Auto => recorded(args, &record),
            _ => {
                args.recipe = Some("standard".to_owned());
                Ok((args, None))
            }
        }
    }

    /// `run.toml` of a run that goes on.
    fn record(&self) -> Result<Option<toml::Table>> {
        match (self.args.resume, self.out) {
            (true, Some(out)) => knowledge::run_toml(out),
            _ => Ok(None),
        }
    }

    /// Facts and what is given; `None` where nothing is left to a recipe.
    fn open(&self) -> Result<Option<(Facts, Given)>> {
        if name(self.args)? == RecipeName::Standard || self.record()?.is_some() {
            return Ok(None);
        }
        let args = self.args;
        let task = task_of(self.kind);
        let count = self.labels.names().len();
        let classes = match &self.classes {
            Some(classes) => classes.clone(),
            None => self.count()?,
        };
        let typed = object(args)?;
        let given = given(&typed)?;
        let layout = Layout::new(self.config, task, count);
        let pool_stays = args
            .pool
            .as_deref()
            .is_none_or(|p| p == self.config.pool.name());
        // A folder that cannot be read is an error of the run, which says it better.
        let head = !args.new_head
            && (pool_stays || !task.pools())
            && holds_head(self.model, self.config, task, self.labels.names()).unwrap_or(false);
        let asked = |key: &&&str| match typed.get(**key) {
            None | Some(Value::Bool(false)) => false,
            Some(value) => **key != "select" || value == "best",
        };
        let when_done = WHEN_DONE
            .iter()
            .filter(|_| self.valid != Valid::OpenInFolds);
        let mut need = WHILE_TRAINING.iter().chain(when_done);
        let facts = Facts {
            task,
            texts: (self.fit)(self.train.rows.len()),
            classes,
            parameters: layout.table.params().iter().map(|p| p.len()).sum(),
            pool: self.config.pool,
            head,
            scratch: args.init.as_deref() == Some("random"),
            reinit_top: args.reinit_top.unwrap_or(0),
            valid: self.valid == Valid::Decided,
            needs_valid: need.find(asked).map(|f| f.replace('_', "-")),
            own_loss: own_loss(args, &layout.table),
            pools: None,
        };
        Ok(Some((facts, given)))
    }

    fn measure<B: Backend>(
        &self,
        train: &Part,
        known: &KnownFeatures,
        backend: &Arc<B>,
    ) -> Result<Option<Pools>> {
        let tokenizer = Tokenizer::load(self.model, self.config.vocabulary)?;
        let how = Tokenising {
            tokenizer: &tokenizer,
            max_length: settings::max_length(self.args.columns.max_length, self.config)?,
            truncate: settings::truncate(&self.args.columns)?,
        };
        let task = task_of(self.kind);
        let (examples, _) = labelled(train, self.labels, task, self.names, how)?;
        let stop = interrupt::watch()?;
        let mut progress = Progress::new();
        Ok(measure(
            backend.clone(),
            self.model,
            self.config.clone(),
            task,
            self.labels.names(),
            &examples,
            &together(train),
            self.args.seed.unwrap_or(0),
            known,
            &mut progress,
            stop,
        )?)
    }
}

/// The flag that leaves no place for a contrast beside the loss: one that makes it another, or leaves nothing to draw together.
fn own_loss(args: &TrainArgs, table: &ParamTable) -> Option<String> {
    let given = [
        ("focal-loss", args.focal_loss.is_some_and(|x| x > 0.0)),
        ("r-drop", args.r_drop.is_some_and(|x| x > 0.0)),
        ("freeze", stands_still(args, table)),
    ];
    let found = given.iter().find(|(_, given)| *given);
    found.map(|(flag, _)| (*flag).to_owned())
}

/// Whether nothing below the head ever trains; what cannot be read is an error of the run, which says it better.
fn stands_still(args: &TrainArgs, table: &ParamTable) -> bool {
    let word = |given: &Option<String>| given.clone().unwrap_or_else(|| "none".to_owned());
    let parsed = Unfreeze::parse(&word(&args.freeze), &word(&args.unfreeze), table);
    let rows = table.params().iter().enumerate();
    let below = rows.filter(|(_, p)| p.depth < Depth::Pooler);
    parsed.is_ok_and(|unfreeze| {
        below
            .map(|(row, _)| row)
            .all(|row| !unfreeze.ever_trains(row))
    })
}

/// Lowers `--recipe`.
pub fn name(args: &TrainArgs) -> Result<RecipeName> {
    match &args.recipe {
        None => Ok(RecipeName::default()),
        Some(word) => word.parse().map_err(|e: String| anyhow!("--recipe {e}")),
    }
}

fn object(args: &TrainArgs) -> Result<Map<String, Value>> {
    match serde_json::to_value(args)? {
        Value::Object(map) => Ok(map),
        _ => bail!("options must form an object"),
    }
}

fn setting(value: &Value) -> Result<Setting> {
    Ok(match value {
        Value::Bool(on) => Setting::Word(on.to_string()),
        other => serde_json::from_value(other.clone())?,
    })
}

/// What was typed of the options that a recipe may choose.
fn given(typed: &Map<String, Value>) -> Result<Given> {
    let options = OPTIONS.into_iter().chain(["max_steps"]);
    options
        .filter_map(|option| Some((option.to_owned(), typed.get(option)?)))
        .map(|(option, value)| match setting(value) {
            Ok(value) => Ok((option, value)),
            // What is not a number has no place in JSON.
            Err(_) => bail!(
                "--{}: a number or a word was expected",
                option.replace('_', "-")
            ),
        })
        .collect()
}

/// The choices among the options.
fn filled(args: &TrainArgs, recipe: Recipe) -> Result<Filled> {
    let mut all = object(args)?;
    for choice in &recipe.chosen {
        if let Some(value) = &choice.value {
            all.insert(choice.option.clone(), serde_json::to_value(value)?);
        }
    }
    all.insert("recipe".to_owned(), "auto".into());
    Ok((again(args, all)?, Some(recipe)))
}

fn again(args: &TrainArgs, all: Map<String, Value>) -> Result<TrainArgs> {
    Ok(TrainArgs {
        config: args.config.clone(),
        json: args.json,
        resume: args.resume,
        ..serde_json::from_value(Value::Object(all))?
    })
}

/// The choices of a run that goes on, as its `run.toml` has them; what is given now still wins.
fn recorded(args: TrainArgs, run: &toml::Table) -> Result<Filled> {
    let Some(chose) = run.get(RECORD).and_then(toml::Value::as_table) else {
        // It began without a recipe.
        return Ok((args, None));
    };
    let mut all = object(&args)?;
    let mut recipe = Recipe {
        facts: format!(
            "as this run began: {}",
            chose.get(FACTS).and_then(toml::Value::as_str).unwrap_or("")
        ),
        chosen: Vec::new(),
        given: given(&all)?,
    };
    for option in OPTIONS {
        let Some(why) = chose.get(option).and_then(toml::Value::as_str) else {
            continue;
        };
        let value = match run.get(option) {
            Some(value) => Some(serde_json::to_value(value)?),
            None => None,
        };
        // What the record itself has put there was given by nobody.
        if all
            .get(option)
            .is_some_and(|now| value.as_ref() != Some(now))
        {
            continue;
        }
        recipe.given.remove(option);
        recipe.chosen.push(Choice {
            option: option.to_owned(),
            value: value.as_ref().map(setting).transpose()?,
            why: why.to_owned(),
        });
        all.extend(value.map(|v| (option.to_owned(), v)));
    }
    all.insert("recipe".to_owned(), "auto".into());
    Ok((again(&args, all)?, Some(recipe)))
}

/// The table of `run.toml`.
pub fn record(recipe: &Recipe) -> toml::Table {
    let mut table = toml::Table::new();
    table.insert(FACTS.into(), recipe.facts.clone().into());
    for choice in &recipe.chosen {
        table.insert(choice.option.clone(), choice.why.clone().into());
    }
    table
}
