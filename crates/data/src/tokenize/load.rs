//! A model folder's tokenizer: `tokenizer.json`, or BERT's word pieces over `vocab.txt`, under the folder's settings.

use super::Tokenizer;
use super::settings::{Added, CONFIG, Settings};
use crate::DataError;
use std::path::{Path, PathBuf};
use tokenizers::models::ModelWrapper;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, NormalizedString, Normalizer, Tokenizer as Inner};

/// A folder's tokenizer, before anything is asked of it.
pub(super) struct Built {
    pub inner: Inner,
    pub settings: Settings,
    /// The file of the vocabulary.
    path: PathBuf,
    /// Whether that is `tokenizer.json`, which says more than the vocabulary.
    json: bool,
    notes: Vec<String>,
}

impl Built {
    /// Reads a folder.
    pub fn read(folder: &Path) -> Result<Built, DataError> {
        let json = folder.join("tokenizer.json");
        let vocab = folder.join("vocab.txt");
        let mut built = if json.is_file() {
            let inner = Inner::from_file(&json).map_err(|e| DataError::Tokenizer {
                path: json.clone(),
                reason: format!("not a tokenizer file ({e})"),
            })?;
            Built {
                inner,
                settings: Settings::read(folder)?,
                path: json,
                json: true,
                notes: Vec::new(),
            }
        } else if vocab.is_file() {
            let settings = Settings::read(folder)?;
            Built {
                inner: word_piece(&vocab, settings.unk())?,
                settings,
                path: vocab,
                json: false,
                notes: Vec::new(),
            }
        } else {
            return Err(DataError::Tokenizer {
                path: folder.to_owned(),
                reason: "no tokenizer.json and no vocab.txt here".to_owned(),
            });
        };
        built.settle()?;
        built.add_tokens()?;
        built.inner.with_padding(None);
        let cut = built.inner.with_truncation(None).map(drop);
        cut.map_err(|e| built.wrong(e.to_string()))?;
        Ok(built)
    }

    fn wrong(&self, reason: String) -> DataError {
        DataError::Tokenizer {
            path: self.path.clone(),
            reason,
        }
    }

    /// How BERT's normaliser is set; none of another.
    pub fn normalizer(&self) -> Option<BertNormalizer> {
        match self.inner.get_normalizer() {
            Some(NormalizerWrapper::BertNormalizer(stored)) => Some(*stored),
            _ => None,
        }
    }

    /// Normalises as `tokenizer_config.json` says where that is not what `tokenizer.json` says, as transformers does for
    /// BERT's tokenizers (and for no other class).
    ///
    /// Of what `tokenizer_config.json` is silent on, transformers takes the class's defaults, even against
    /// `tokenizer.json`; here the file stands: a cased model whose folder lacks the one flag stays cased, and it is told.
    fn settle(&mut self) -> Result<(), DataError> {
        let settings = &self.settings;
        let obeys = settings.obeys_flags() || !self.json;
        let Some(stored) = self.normalizer().filter(|_| obeys) else {
            return Ok(());
        };
        let lower = settings.flag("do_lower_case");
        let chinese = settings.flag("tokenize_chinese_chars");
        let accents = (settings.config.get("strip_accents")).map(|stripped| stripped.as_bool());
        let settled = BertNormalizer::new(
            stored.clean_text,
            chinese.unwrap_or(stored.handle_chinese_chars),
            accents.unwrap_or(stored.strip_accents),
            lower.unwrap_or(stored.lowercase),
        );
        let strips = |accents: Option<bool>, lower: bool| accents.unwrap_or(lower);
        let (here, there) = (settled.lowercase, lower.unwrap_or(true));
        let differ = [
            ("do_lower_case", here, there),
            (
                "tokenize_chinese_chars",
                settled.handle_chinese_chars,
                chinese.unwrap_or(true),
            ),
            (
                "strip_accents",
                strips(settled.strip_accents, here),
                strips(accents.flatten(), there),
            ),
        ];
        let silent: Vec<String> = (differ.iter())
            .filter(|(_, here, there)| here != there)
            .map(|(flag, here, there)| format!("{flag} is {here} here, {there} there"))
            .collect();
        if !silent.is_empty() {
            self.notes.push(format!(
                "{}: texts are read as this file says, where transformers takes its defaults for what {CONFIG} does not say: \
                 {}",
                self.path.display(),
                silent.join("; ")
            ));
        }
        let set = self.inner.with_normalizer(Some(settled)).map(drop);
        set.map_err(|e| self.wrong(e.to_string()))
    }

    /// Adds the tokens that the folder names beside the vocabulary, as transformers does: those with an id in the order of
    /// ids, special ones by their roles, the rest.
    fn add_tokens(&mut self) -> Result<(), DataError> {
        let (by_id, rest): (Vec<_>, Vec<_>) =
            self.settings.added.iter().partition(|a| a.id.is_some());
        let roles = self.settings.specials().iter();
        // A text hardly holds a [MASK]; that the vocabulary lacks it is no fault.
        let roles = roles.filter(|name| self.inner.token_to_id(name).is_some());
        let roles: Vec<AddedToken> = roles.map(|name| AddedToken::from(name, true)).collect();
        let tokens = |added: &[&Added]| added.iter().map(|a| a.token.clone()).collect();
        for group in [tokens(&by_id), roles, tokens(&rest)] {
            let known = self.inner.get_added_vocabulary().get_vocab().clone();
            let new = group
                .into_iter()
                .filter(|t| !known.contains_key(&t.content));
            if let Err(e) = self.inner.add_tokens(new) {
                let reason = format!("its added tokens cannot be used ({e})");
                return Err(self.settings.wrong(CONFIG, reason));
            }
        }
        for added in by_id {
            let name = &added.token.content;
            let is = self.inner.token_to_id(name);
            if is != added.id {
                let (said, is) = (added.id.unwrap_or(0), is.unwrap_or(0));
                return Err(self.settings.wrong(
                    added.file,
                    format!("the added token {name:?} has the id {said}, and by the vocabulary it is {is}"),
                ));
            }
        }
        Ok(())
    }

    /// Whether the pieces of a text are those of its parts, cut behind a space, one after another: so they are where words
    /// end at white space and no added token has any within it, as it stands or as normalised texts have it.
    fn splits_at_space(&self) -> bool {
        let pre = self.inner.get_pre_tokenizer();
        let Some(normalizer) = self.normalizer() else {
            return false;
        };
        let spaced = |token: &AddedToken| {
            let mut normal = NormalizedString::from(token.content.as_str());
            normalizer.normalize(&mut normal).is_err()
                || normal.get().contains(char::is_whitespace)
                || token.content.contains(char::is_whitespace)
        };
        matches!(pre, Some(PreTokenizerWrapper::BertPreTokenizer(_)))
            && !self.inner.get_added_tokens_decoder().values().any(spaced)
    }

    /// The token type of a pair's second text, as transformers' class has it, or why it makes pairs that are none of
    /// BERT's. A generic class writes around texts what `tokenizer.json` says, and a single text must look like BERT's.
    fn second_type(&self, cls: u32, sep: u32) -> Result<Result<u8, String>, DataError> {
        let said = self.settings.has_types().map(u8::from);
        if !(self.settings.is_generic() && self.json) {
            return Ok(Ok(said.unwrap_or(1)));
        }
        let failed = |e: tokenizers::Error| self.wrong(e.to_string());
        let single = self.inner.encode("", true).map_err(failed)?;
        if single.get_ids() != [cls, sep] {
            return Err(self.wrong(format!(
                "its post-processor does not write a text as {cls} … {sep} ([CLS] and [SEP]) and {CONFIG} names a class that \
                 leaves it at that; name BertTokenizer there if the model was trained so"
            )));
        }
        let pair = self.inner.encode(("", ""), true).map_err(failed)?;
        Ok(match pair.get_ids() == [cls, sep, sep] {
            true => Ok(said.unwrap_or(u8::from(pair.get_type_ids().last() == Some(&1)))),
            false => Err(format!(
                "its post-processor writes a pair as {:?}, not as {:?} ([CLS] … [SEP] … [SEP])",
                pair.get_ids(),
                [cls, sep, sep]
            )),
        })
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model folder, or builds a BERT word-piece tokenizer from `vocab.txt`.
    /// `vocabulary` is the number of rows of the model's word embeddings.
    pub fn load(folder: &Path, vocabulary: usize) -> Result<Tokenizer, DataError> {
        let built = Built::read(folder)?;
        let inner = &built.inner;
        for added in &built.settings.added {
            let name = &added.token.content;
            if let Some(id) = inner.token_to_id(name)
                && id as usize >= vocabulary
            {
                return Err(built.settings.wrong(
                    added.file,
                    format!(
                        "the added token {name:?} has the id {id}, and the model's word embeddings have {vocabulary} rows: \
                         tokenizer and model do not belong together"
                    ),
                ));
            }
        }
        let size = inner
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |m| m as usize + 1);
        if size > vocabulary {
            return Err(built.wrong(format!(
                "its vocabulary has {size} entries, the model's word embeddings {vocabulary}: tokenizer and model do not belong together"
            )));
        }
        let lacks = |name: &str| built.wrong(format!("its vocabulary has no {name}"));
        let special = |name: &str| inner.token_to_id(name).ok_or_else(|| lacks(name));
        let (cls, sep) = (
            special(built.settings.cls())?,
            special(built.settings.sep())?,
        );
        // Word pieces have no other answer to a word that they do not know.
        let unk = match inner.get_model() {
            ModelWrapper::WordPiece(model) => Some(special(&model.unk_token)?),
            _ => inner.token_to_id(built.settings.unk()),
        };
        Ok(Tokenizer {
            cls,
            sep,
            unk,
            second_type: built.second_type(cls, sep)?,
            splits_at_space: built.splits_at_space(),
            keeps_end: built.settings.keeps_end(),
            notes: built.notes,
            path: built.path,
            inner: built.inner,
        })
    }
}

/// BERT's word-piece tokenizer from a vocabulary file, as transformers' `BertTokenizer` sets it up; what folders say of it
/// comes later.
fn word_piece(vocab: &Path, unk: &str) -> Result<Inner, DataError> {
    let wrong = |reason: String| DataError::Tokenizer {
        path: vocab.to_owned(),
        reason,
    };
    let name = vocab
        .to_str()
        .ok_or_else(|| wrong("the path is not valid UTF-8".to_owned()))?;
    let model = WordPiece::from_file(name)
        .unk_token(unk.into())
        .build()
        .map_err(|e| wrong(e.to_string()))?;
    let mut inner = Inner::new(model);
    inner
        .with_normalizer(Some(BertNormalizer::default()))
        .map_err(|e| wrong(e.to_string()))?;
    inner.with_pre_tokenizer(Some(BertPreTokenizer));
    Ok(inner)
}
