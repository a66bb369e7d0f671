//! The command line: what a user may type. Options are lowered to what they mean in `settings.rs`.

// Doc comments here are the text of --help, where brackets are brackets.
#![allow(rustdoc::broken_intra_doc_links)]

use crate::augment::{AugmentArgs, AugmentFlags};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Fine-tune BERT on your own labelled texts.
#[derive(Debug, Parser)]
#[command(name = "hone", bin_name = "hone", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What these are in `hone find-lr`.
const FOLDER: &str = "Folder for the plot and the curve (lr.svg, lr.csv, lr.json), new or empty [default: runs/NAME-lr-N]";
/// What these are in `hone tune`.
const CHOOSERS: &str = "Validation texts: a file, or none; they choose where there is a test file too, else they are \
    kept for the last figure [default: the folder's]";
const TESTED: &str = "Which recipe chooses --batch-size, --init-head, --pool and the head's ratio, for the test and for the \
    command that is printed: standard, with which the rule was measured, or auto [default: standard]";
const HANDED_ON: &str = "Not read by the test; handed on to the command that is printed";
const UNREAD: &str = "Not read: keep it for the recipe that you choose in the end";
const INNER: &str = "What selects the weights inside each fold: a fraction of the fold's own training texts, a file for all \
    folds, or none [default: by --recipe; standard: 0.1]";
const GO_ON: &str = "Continue what --out began, from its newest checkpoint";
/// What these are in `hone pretrain`.
const RAW: &str = "Texts, labelled or not: a .txt with one a line, any file that train reads, a folder with train and valid, or a \
    data set of the hub (owner/name)";
const HELD_OUT: &str =
    "Validation texts: a file, a fraction of the texts, or none [default: the folder's, else 0.05]";
const SAID: &str = "What selection and patience go by: loss or perplexity [default: loss]";
const ENCODER: &str =
    "Learning rate of the encoder's top layer [default: 5e-5; under a new head 1e-5]";
const FILLER: &str =
    "Learning rate of the head that says masked words [default: as --lr; of a new head 1e-3]";
const OBJECT: &str = "Print what was found as one JSON object on standard output";

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Fine-tune a model; with no argument at all, a demonstration on built-in film reviews
    #[command(allow_negative_numbers = true)]
    Train(Box<TrainArgs>),
    /// Have a model say masked words of unlabelled texts of your field, before it is fine-tuned
    #[command(allow_negative_numbers = true, mut_args(crate::pretrain::shown), mut_arg("data", |a| a.help(RAW)),
        mut_arg("valid", |a| a.help(HELD_OUT)), mut_arg("metric", |a| a.help(SAID)), mut_arg("lr", |a| a.help(ENCODER)),
        mut_arg("head_lr", |a| a.help(FILLER)))]
    Pretrain(Box<crate::pretrain::PretrainArgs>),
    /// Look for faults of a data set before training on it, and whether a model fits it
    Check(Box<crate::check::CheckArgs>),
    /// Estimate a recipe by k-fold cross-validation, and list labels that deserve a look
    #[command(allow_negative_numbers = true, mut_arg("valid", |a| a.help(INNER)), mut_arg("resume", |a| a.help(GO_ON)),
        mut_arg("json", |a| a.help(OBJECT)))]
    Crossval(Box<crate::crossval::CrossvalArgs>),
    /// Does a practice help on your data? Recipes beside a baseline over paired seeds and folds, with verdicts
    #[command(allow_negative_numbers = true, mut_arg("valid", |a| a.help(INNER)), mut_arg("test", |a| a.help(UNREAD)),
        mut_arg("resume", |a| a.help(GO_ON)), mut_arg("json", |a| a.help(OBJECT)))]
    Study(Box<crate::study::StudyArgs>),
    /// Search for hyperparameters within a time: random trials, successive halving, a winner judged anew
    #[command(allow_negative_numbers = true, mut_arg("valid", |a| a.help(CHOOSERS)), mut_arg("json", |a| a.help(OBJECT)),
        mut_arg("resume", |a| a.help(GO_ON)))]
    Tune(Box<crate::tune::TuneArgs>),
    /// Suggest a learning rate by a range test: the loss at ever larger rates, drawn and read
    #[command(allow_negative_numbers = true, mut_arg("out", |a| a.help(FOLDER)), mut_arg("json", |a| a.help(OBJECT)),
        mut_arg("recipe", |a| a.help(TESTED)), mut_arg("test", |a| a.help(HANDED_ON)), mut_arg("resume", |a| a.hide(true)))]
    FindLr(Box<crate::find_lr::FindLrArgs>),
    /// Compare two fine-tuned models on the same labelled texts
    Compare(crate::compare::CompareArgs),
    /// Move a fine-tuned model back towards the one it began as, and show what that costs and keeps
    #[command(allow_negative_numbers = true)]
    Interpolate(Box<crate::interpolate::InterpolateArgs>),
    /// Show what a run did, and what its model forgot
    Report(Box<crate::report::ReportArgs>),
    /// Write a data file with changed copies of its texts
    Augment(AugmentArgs),
    /// Measure a fine-tuned model on labelled texts
    Eval(EvalArgs),
    /// Answer texts with a fine-tuned model, one JSON object a line
    Predict(PredictArgs),
    /// Show what a model, a data file or a run holds
    Inspect(InspectArgs),
    /// Download a model or a data set by name, verify it and keep it in the cache
    Fetch(FetchArgs),
    /// Time training steps and show where the time goes
    Bench(BenchArgs),
}

/// Where arithmetic runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision
    F32,
    /// Products in bfloat16 with sums in f32; on a GPU activations too
    Bf16,
}

/// Device, precision and threads, the same words everywhere.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceArgs {
    /// cpu, cuda[:N] (an NVIDIA GPU), or auto: the first GPU that can be used, else the CPU [default: auto]
    #[arg(long, value_name = "DEVICE", help_heading = "Machine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Arithmetic of products; bf16 is faster and asks for a GPU or a CPU that multiplies it (AVX-512 BF16) [default: f32]
    #[arg(long, value_enum, help_heading = "Machine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Threads; results do not depend on it [default: all cores]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// On a GPU: time cuBLASLt's algorithms when a product of new size comes, keep the fastest beside the
    /// kernels in the cache and use them from then on. Results then depend on that file's choices too [default: off]
    #[arg(long, help_heading = "Machine")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tune_products: bool,
    /// On a GPU: queue every operation of a training step by itself, not steps of up to 4096 tokens as CUDA graphs, for
    /// which batches are filled by up to an eighth with texts that weigh nothing [default: graphs]
    #[arg(long, help_heading = "Machine")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_graphs: bool,
}

/// How labelled texts are read.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnArgs {
    /// Column of the text [default: text, sentence, review, content or sentence1]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_column: Option<String>,
    /// Column of the second text of a pair [default: text_b or sentence2, where there is one]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_b_column: Option<String>,
    /// Column of the label [default: label, labels, sentiment, class or score]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// auto, classify, multilabel, regress or tag [default: auto, from the labels]
    #[arg(long, value_name = "TASK", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Most word pieces of a text, special ones included [default: the model's limit; eval and predict: as in
    /// training]
    #[arg(long, value_name = "N", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Which part of a longer text is kept: head, tail or head-tail [default: head; eval and predict: as in
    /// training, without run.toml as truncation_side in tokenizer_config.json]
    #[arg(long, value_name = "PART", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<String>,
    /// Warnings about the data are errors
    #[arg(long, help_heading = "Data")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// Which rows of an evaluation are written to files.
#[derive(Debug, Clone, Default, Args)]
pub struct ListArgs {
    /// Write all wrong rows to this CSV file, the most confident first (of values, the 100 farthest off) [default: no]
    #[arg(long, value_name = "FILE")]
    pub errors: Option<PathBuf>,
    /// Write the 100 rows of whose answer the model is least certain to this CSV file [default: no]
    #[arg(long, value_name = "FILE")]
    pub uncertain: Option<PathBuf>,
}

/// `hone train`.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainArgs {
    /// A TOML file with any of these options; what is given on the command line wins
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Print the summary as one JSON object on standard output
    #[arg(long)]
    #[serde(skip)]
    pub json: bool,
    /// A folder, a Hugging Face id (org/name) or a short name (minilm, bert-base, bert-large) [default: minilm]
    #[arg(long, value_name = "MODEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Labelled texts: CSV, TSV, JSON, CoNLL, fastText (each also .gz), Parquet, a folder with train, valid, test, or a
    /// data set of the Hugging Face hub (org/name, org/name/configuration)
    #[arg(long, value_name = "PATH|NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Validation texts: a file, a data set's name, a fraction of the training texts (0.1), or none [default: the folder's, else by --recipe;
    /// standard: 0.1]
    #[arg(long, value_name = "PATH|FRACTION|none")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<String>,
    /// Test texts, read once at the end: a file, or a data set's name
    #[arg(long, value_name = "PATH|NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Output folder, which must be new or empty [default: runs/NAME-N]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// Continue the run in --out from its newest checkpoint
    #[arg(long)]
    #[serde(skip)]
    pub resume: bool,
    /// How texts are read
    #[command(flatten)]
    #[serde(flatten)]
    pub columns: ColumnArgs,
    /// Who chooses what is not given of --init-head, --pool, --lr, --head-lr, --batch-size, --epochs, --schedule,
    /// --warmup and --valid: auto (by the number of training texts, their labels and the model, with reasons; from
    /// 20 000 texts on it is standard), or standard (the values listed here) [default: auto]
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Rows with the same value here stay on one side of a split
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_column: Option<String>,
    /// Seed of the validation split [default: 0]
    #[arg(long, value_name = "N", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// Passes over the training texts [default: by --recipe; standard: 3]
    #[arg(long, value_name = "N", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Optimiser steps, instead of --epochs
    #[arg(
        long,
        value_name = "N",
        help_heading = "Training",
        conflicts_with = "epochs"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Texts of a forward pass [default: by --recipe; standard: 32]
    #[arg(long, value_name = "N", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Forward passes of an optimiser step [default: 1]
    #[arg(long, value_name = "N", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grad_accum: Option<usize>,
    /// Most word pieces in memory at once; cuts micro-batches only [default: 8192]
    #[arg(long, value_name = "N", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Learning rate of the encoder's top layer [default: by --recipe; standard: 5e-5]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Learning rate of pooler and classifier [default: 10 times --lr]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_lr: Option<f64>,
    /// Layer-wise rates: each layer's is this times that of the layer above [default: 1]
    #[arg(long, value_name = "FACTOR", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f64>,
    /// Decoupled weight decay; biases and LayerNorm have none [default: 0.01]
    #[arg(long, value_name = "X", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// AdamW's first-moment decay [default: 0.9]
    #[arg(long, value_name = "X", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// AdamW's second-moment decay [default: 0.999]
    #[arg(long, value_name = "X", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
    /// AdamW's epsilon [default: 1e-8]
    #[arg(long, value_name = "X", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// Largest gradient norm; 0 clips nothing [default: 1]
    #[arg(long, value_name = "NORM", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// linear, cosine, constant, polynomial[:POWER] (1), one-cycle, slanted[:RATIO] (ULMFiT's triangle; 32) or
    /// exponential:FROM, which grows [default: by --recipe; linear]
    #[arg(long, value_name = "SHAPE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Warm-up: a whole number of steps, or a fraction of all steps (0.06 or 6%), never the last one [default: by --recipe;
    /// standard: 0.06; one-cycle 0.3, slanted 0.1, which is what 0 means there; exponential takes none]
    #[arg(long, value_name = "N|FRACTION", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<String>,
    /// Dropout of embeddings and sublayers, and of the head [default: the model's, usually 0.1]
    #[arg(long, value_name = "P", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// Dropout of attention probabilities [default: the model's, usually 0.1]
    #[arg(long, value_name = "P", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_dropout: Option<f64>,
    /// Dropout before the classifier [default: --dropout, or the model's]
    #[arg(long, value_name = "P", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dropout: Option<f64>,
    /// Probability spread evenly over all labels [default: 0]
    #[arg(long, value_name = "P", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_smoothing: Option<f64>,
    /// none, or auto: rare labels weigh more [default: none]
    #[arg(long, value_name = "HOW", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<String>,
    /// Focal exponent of the class loss: rows that are already right weigh less; 2 is usual [default: 0]
    #[arg(long, value_name = "GAMMA", help_heading = "Regularisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub focal_loss: Option<f64>,
    /// R-Drop: every text is read twice, and the two answers are pulled together with this weight; 1 to 5 is
    /// usual; a step takes twice as long, for nothing where every dropout is 0 [default: 0]
    #[arg(long, value_name = "ALPHA", help_heading = "Regularisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r_drop: Option<f64>,
    /// Supervised contrast: texts of a class in a batch are drawn together, and away from the others, by a loss of this weight
    /// beside the usual one; for texts of one class each, of which a batch holds several of a class; batches are not
    /// cut by --max-tokens then [default: 0]
    #[arg(long, value_name = "ALPHA", help_heading = "Regularisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contrast: Option<f64>,
    /// Temperature of --contrast: the lower, the more the nearest texts count [default: 0.3]
    #[arg(long, value_name = "TAU", help_heading = "Regularisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contrast_temperature: Option<f64>,
    /// L2-SP: pre-trained weights decay towards their pre-trained values instead of towards zero. 50%: strong enough to go
    /// half of the way back over the run, were there no gradients; X: by the learning rate times X at each step [default: 0]
    #[arg(long, value_name = "P%|X", help_heading = "Regularisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2_sp: Option<String>,
    /// Mixout: at each step every number of a pre-trained matrix is replaced by its pre-trained value with this probability
    /// [default: 0]
    #[arg(long, value_name = "P", help_heading = "Regularisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixout: Option<f64>,
    /// Weights to evaluate and keep: none (those of a step), ema:DECAY (0.999, say), or last:PART, the mean of the weights
    /// over the last part of the run (0.25: the last quarter), which a run that stops before that part never begins [default: none]
    #[arg(long, value_name = "WHICH", help_heading = "Regularisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<String>,
    /// What stays as it is: none; embeddings; N, the embeddings and layers 0 to N; A-B, these layers alone;
    /// all, everything but the head; bias-only, everything but biases and the head; or names of tensors with *; joined by
    /// commas [default: none]
    #[arg(long, value_name = "WHAT", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<String>,
    /// Keep the outputs of frozen lower layers in memory: faster epochs, the same bits
    #[arg(long, help_heading = "Training")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cache_frozen: bool,
    /// Gradual unfreezing from the top: none, epoch or step:N; what does not wake within the run stays as it is
    /// [default: none]
    #[arg(long, value_name = "WHEN", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfreeze: Option<String>,
    /// Where the weights begin: pretrained, or random (training from scratch) [default: pretrained]
    #[arg(long, value_name = "WHERE", help_heading = "Start")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// What a new head begins as: random, or probe, the logistic regression of the labels on what the encoder says
    /// of the training texts before it is trained [default: by --recipe; standard: random]
    #[arg(long, value_name = "HOW", help_heading = "Start")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_head: Option<String>,
    /// What stands for a text: cls, the first token's state through the pooler, or mean, the mean over all tokens,
    /// which no class of transformers loads [default: by --recipe; standard: the model's, usually cls]
    #[arg(long, value_name = "WHAT", help_heading = "Start")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Whether values are learned in units of their own mean and deviation: auto (where the head begins at random, or they
    /// are far from 0 or close together), always or never; the model that is saved answers them as they are [default: auto; of other labels never]
    #[arg(long, value_name = "WHEN", help_heading = "Start")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standardize: Option<String>,
    /// Upper encoder layers to initialise anew at random, with the pooler [default: 0]
    #[arg(long, value_name = "N", help_heading = "Start")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reinit_top: Option<usize>,
    /// Draw a new head even where the model has one that fits
    #[arg(long, help_heading = "Start")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub new_head: bool,
    /// Seed of the head, the order and dropout [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Read the training texts in the order of the file
    #[arg(long, help_heading = "Training")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_shuffle: bool,
    /// How training texts are changed
    #[command(flatten)]
    #[serde(flatten)]
    pub augmenting: AugmentFlags,
    /// How often to validate: a whole number of steps (1: every step), or a part of an epoch (1.0 or 100%: every epoch)
    /// [default: 1.0]
    #[arg(long, value_name = "N|FRACTION", help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<String>,
    /// What selection and patience go by: accuracy, macro_f1, matthews or loss; of several labels micro_f1, macro_f1, accuracy or
    /// loss; of values pearson, spearman, rmse, mae or loss; of tags entity_f1, accuracy or loss [default: the first]
    #[arg(long, value_name = "NAME", help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Validations without improvement before training stops [default: never]
    #[arg(long, value_name = "N", help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Weights to keep: best or last [default: best; last with fewer than 200 validation texts]
    #[arg(long, value_name = "WHICH", help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// Fit a temperature on the validation texts (200 at least; of crossval the folds' answers) and divide it into the
    /// classifier, so that probabilities can be believed
    #[arg(long, help_heading = "Watching")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub calibrate: bool,
    /// Find, on the validation texts, the confidence above which answers are right this often (0.95, say; it holds
    /// with 95 % certainty; of crossval by the folds' answers, an estimate); `predict --abstain` then gives no other answers [default: none]
    #[arg(long, value_name = "P", help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abstain_precision: Option<f64>,
    /// What becomes of a run whose training loss is no better than the labels' shares alone would be (200 steps after
    /// warm-up, or half-way; runs of under 40 steps, and those with --focal-loss or --r-drop, are not judged): off,
    /// warn, or restart, which begins anew, once, with a quarter of the rate and a longer warm-up [default: warn]
    #[arg(long, value_name = "HOW", help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collapse_guard: Option<String>,
    /// How often to write a checkpoint: a whole number of steps, or a part of an epoch (1.0 or 100%: every epoch)
    /// [default: only when interrupted]
    #[arg(long, value_name = "N|FRACTION", help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_every: Option<String>,
    /// Where it runs
    #[command(flatten)]
    #[serde(flatten)]
    pub machine: DeviceArgs,
}

/// `hone eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// Folder of a fine-tuned model [default: runs/latest]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Labelled texts: a file, or a folder or a data set's name (org/name), of which its test texts are meant
    #[arg(long, value_name = "PATH|NAME")]
    pub data: PathBuf,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// Also measure the answers that are given under the model's --abstain-precision, and their share
    #[arg(long)]
    pub abstain: bool,
    /// Rows worth reading
    #[command(flatten)]
    pub lists: ListArgs,
    /// How texts are read
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Where it runs
    #[command(flatten)]
    pub machine: DeviceArgs,
}

/// `hone predict`.
#[derive(Debug, Clone, Args)]
pub struct PredictArgs {
    /// Folder of a fine-tuned model [default: runs/latest]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// A file of texts, labelled or not; of a .txt each line is a text, of a data set's name (org/name) its test texts
    #[arg(long, value_name = "PATH|NAME", conflicts_with = "texts")]
    pub data: Option<PathBuf>,
    /// Texts; `-` reads one a line from standard input, for a model of pairs a JSON object with both texts
    #[arg(value_name = "TEXT")]
    pub texts: Vec<String>,
    /// Answer each line of standard input by itself, as soon as it is there
    #[arg(long)]
    pub stream: bool,
    /// Give no answer (null) where the model's --abstain-precision would not hold
    #[arg(long)]
    pub abstain: bool,
    /// How texts are read
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Where it runs
    #[command(flatten)]
    pub machine: DeviceArgs,
}

/// `hone inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A model folder, a safetensors file, a run or a data file
    pub path: PathBuf,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// `hone fetch`.
#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    /// A model: a Hugging Face id (org/name[@revision]) or a short name (minilm, bert-base, bert-large)
    #[arg(required_unless_present = "data", conflicts_with = "data")]
    pub name: Option<String>,
    /// A data set of the Hugging Face hub instead: org/name[@revision], or org/name/configuration where it has several
    #[arg(long, value_name = "NAME")]
    pub data: Option<String>,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Shapes `hone bench` knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// 6 layers, hidden 384
    Minilm,
    /// 12 layers, hidden 768
    Base,
    /// 24 layers, hidden 1024
    Large,
}

/// `hone bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// A model folder or name
    #[arg(long, value_name = "MODEL", conflicts_with = "shape")]
    pub model: Option<String>,
    /// Random weights of a known shape [default: minilm]
    #[arg(long, value_enum)]
    pub shape: Option<Shape>,
    /// Texts of a step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch: usize,
    /// Word pieces of every text
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub length: usize,
    /// Word pieces of each text instead: a file with a number a line, read in order and again from its start
    #[arg(long, value_name = "FILE", conflicts_with = "length")]
    pub lengths: Option<PathBuf>,
    /// Steps timed, after two that are not
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub steps: usize,
    /// Steps queued one after another between two readings of the clock; more than 1 cannot be told apart by phase
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub back_to_back: usize,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// Where it runs
    #[command(flatten)]
    pub machine: DeviceArgs,
}
