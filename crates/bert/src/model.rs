//! The whole model: embeddings, encoder, head; how it is made and what it is. What it does is in `passes`.

use crate::acts::RowSet;
use crate::config::can_name;
use crate::load::{self, Carried, HeadChoice, Receipt};
use crate::{BertError, Config, Layout, Limits, Pool, Task, Units};
use hone_kernels::Backend;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// A BERT encoder with a task's head, its weights on a backend.
pub struct Model<B: Backend> {
    pub(crate) backend: Arc<B>,
    // The layout and the weights were made for these three.
    pub(crate) config: Config,
    pub(crate) task: Task,
    pub(crate) labels: Vec<String>,
    pub(crate) units: Units,
    pub(crate) layout: Layout,
    pub(crate) params: B::Params,
    /// Saved beside them.
    pub(crate) carried: Vec<Carried>,
}

hone_tensor::brief_debug! {
    [B: Backend] Model<B>, |m|
    backend: m.backend.path(), task: m.task, labels: m.labels, config: m.config, numbers: m.layout.table.len()
}

impl<B: Backend> Model<B> {
    /// Reads a Hugging Face folder, with a head for `task` and `labels`.
    pub fn load(
        backend: Arc<B>,
        folder: &Path,
        task: Task,
        labels: Vec<String>,
        head: &HeadChoice,
        seed: u64,
    ) -> Result<(Self, Receipt), BertError> {
        let config = Config::read(&Config::path_in(folder))?;
        Model::load_as(backend, config, folder, task, labels, head, seed)
    }

    /// [`Model::load`] with a configuration that is not quite the folder's: another pool.
    pub fn load_as(
        backend: Arc<B>,
        config: Config,
        folder: &Path,
        task: Task,
        labels: Vec<String>,
        head: &HeadChoice,
        seed: u64,
    ) -> Result<(Self, Receipt), BertError> {
        let mut model = Model::zeros(backend, config, task, labels)?;
        let (receipt, carried) = load::load(
            model.backend.as_ref(),
            &mut model.params,
            &model.layout,
            &model.config,
            task,
            folder,
            head,
            seed,
        )?;
        model.carried = carried;
        Ok((model, receipt))
    }

    /// A fine-tuned folder as it is: task and labels from its configuration.
    pub fn open(backend: Arc<B>, folder: &Path) -> Result<(Self, Receipt), BertError> {
        let config = Config::read(&Config::path_in(folder))?;
        let (task, labels) = config.head().map_err(|why| BertError::NoHead {
            path: Config::path_in(folder),
            why,
        })?;
        let labels = labels.to_vec();
        Model::load_as(
            backend,
            config,
            folder,
            task,
            labels,
            &HeadChoice::Stored,
            0,
        )
    }

    /// Every parameter drawn from `seed`: training from scratch.
    pub fn random(
        backend: Arc<B>,
        config: Config,
        task: Task,
        labels: Vec<String>,
        seed: u64,
    ) -> Result<(Self, Receipt), BertError> {
        let std = config.initializer_range;
        let mut model = Model::zeros(backend, config, task, labels)?;
        let receipt = load::initialise(
            model.backend.as_ref(),
            &mut model.params,
            &model.layout,
            std,
            seed,
        )?;
        Ok((model, receipt))
    }

    fn zeros(
        backend: Arc<B>,
        config: Config,
        task: Task,
        labels: Vec<String>,
    ) -> Result<Self, BertError> {
        config.check()?;
        can_name(task, &labels)
            .map_err(|why| BertError::Sizes(format!("the head's labels are {why}")))?;
        let layout = Layout::new(&config, task, labels.len());
        let params = backend.params(layout.table.clone())?;
        Ok(Model {
            backend,
            config,
            task,
            labels,
            units: Units::PLAIN,
            layout,
            params,
            carried: Vec::new(),
        })
    }

    /// The backend that holds the weights.
    pub fn backend(&self) -> &Arc<B> {
        &self.backend
    }

    /// The parameter table and its use.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The weights.
    pub fn params(&self) -> &B::Params {
        &self.params
    }

    /// The weights, for the optimiser.
    pub fn params_mut(&mut self) -> &mut B::Params {
        &mut self.params
    }

    /// Shape and constants.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the head predicts.
    pub fn task(&self) -> Task {
        self.task
    }

    /// Names of the head's outputs.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Sets the probabilities of dropout that the model is saved with; `classifier`: where the head has one of its own. A
    /// pass brings its own ([`Pass`](crate::Pass)).
    pub fn set_dropout(
        &mut self,
        hidden: f64,
        attention: f64,
        classifier: Option<f64>,
    ) -> Result<(), BertError> {
        let config = Config {
            hidden_dropout: hidden,
            attention_dropout: attention,
            classifier_dropout: classifier,
            ..self.config.clone()
        };
        config.check()?;
        self.config = config;
        Ok(())
    }

    /// The fields that `config.json` is saved with. Where one speaks of what [`Model::config`], the task or the labels
    /// say, they win.
    pub fn fields_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.config.source
    }

    /// Number of outputs; of masked words the vocabulary's.
    pub fn classes(&self) -> usize {
        match self.task {
            Task::Mask => self.config.vocabulary,
            _ => self.labels.len(),
        }
    }

    /// Rows the head reads of the last layer.
    pub fn last_rows(&self) -> RowSet {
        match (self.task.pools(), self.config.pool) {
            (true, Pool::Cls) => RowSet::First,
            _ => RowSet::All,
        }
    }

    /// Rows of logits that a batch of that size has: its sequences, or its tokens when tagging.
    pub fn answered_rows(&self, size: Limits) -> usize {
        self.head_rows().count(size)
    }

    /// Rows the head answers.
    pub(crate) fn head_rows(&self) -> RowSet {
        match self.task.pools() {
            true => RowSet::First,
            false => RowSet::All,
        }
    }
}
