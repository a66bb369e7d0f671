//! What a model folder says of its tokenizer beside the vocabulary, in `tokenizer_config.json` and, of older folders,
//! `special_tokens_map.json` and `added_tokens.json`; read as transformers reads it.

use crate::DataError;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use tokenizers::AddedToken;

pub(super) const CONFIG: &str = "tokenizer_config.json";
pub(super) const SPECIAL: &str = "special_tokens_map.json";
pub(super) const ADDED: &str = "added_tokens.json";

/// BERT's special tokens by what files call them, with their usual names.
const ROLES: [(&str, &str); 5] = [
    ("pad_token", "[PAD]"),
    ("unk_token", "[UNK]"),
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("mask_token", "[MASK]"),
];

/// transformers' classes that normalise by the three flags; a folder that names none has one of them.
const BERTS: [&str; 3] = ["BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"];
/// Those that take `tokenizer.json` as it is.
const GENERIC: [&str; 2] = ["PreTrainedTokenizerFast", "TokenizersBackend"];

/// A token that stands beside the vocabulary.
pub(super) struct Added {
    pub token: AddedToken,
    /// Its id, where the file says one.
    pub id: Option<u32>,
    /// The file that names it.
    pub file: &'static str,
}

/// The settings of a folder.
pub(super) struct Settings {
    folder: PathBuf,
    /// `tokenizer_config.json`; empty where there is none.
    pub config: Map<String, Value>,
    /// Names of the special tokens, in the order of [`ROLES`].
    names: [String; ROLES.len()],
    /// Added tokens, in the order in which they get their ids.
    pub added: Vec<Added>,
}

impl Settings {
    /// Reads them. A file that cannot be read, or a field of it that is not what it should be, is an error: a cased model
    /// would be lower-cased without a word.
    pub fn read(folder: &Path) -> Result<Settings, DataError> {
        let mut settings = Settings {
            folder: folder.to_owned(),
            config: object(folder, CONFIG)?.unwrap_or_default(),
            names: ROLES.map(|(_, usual)| usual.to_owned()),
            added: Vec::new(),
        };
        for flag in ["do_lower_case", "strip_accents", "tokenize_chinese_chars"] {
            match settings.config.get(flag) {
                None | Some(Value::Null | Value::Bool(_)) => {}
                Some(other) => {
                    let reason = format!("{flag} is {other}, not true or false");
                    return Err(settings.wrong(CONFIG, reason));
                }
            }
        }
        let decoder = settings.config.get("added_tokens_decoder").cloned();
        let decoder = decoder.filter(|tokens| !tokens.is_null());
        // The other two files are how older versions said it, and count only where this one does not.
        let (special, added) = match decoder {
            Some(_) => (None, None),
            None => (object(folder, SPECIAL)?, object(folder, ADDED)?),
        };
        let config = settings.config.clone();
        let mut extra = Vec::new();
        for (file, map) in [(CONFIG, Some(&config)), (SPECIAL, special.as_ref())] {
            if let Some(map) = map {
                settings.special_tokens(file, map, &mut extra)?;
            }
        }
        settings.decoder(decoder.as_ref())?;
        settings.encoder(added.as_ref(), &extra)?;
        settings.added.extend(extra);
        Ok(settings)
    }

    /// The special tokens that a file names; those without a role go to `extra`.
    fn special_tokens(
        &mut self,
        file: &'static str,
        map: &Map<String, Value>,
        extra: &mut Vec<Added>,
    ) -> Result<(), DataError> {
        for (i, (role, _)) in ROLES.iter().enumerate() {
            if let Some(value) = map.get(*role).filter(|v| !v.is_null()) {
                self.names[i] = self.token(file, role, value, true)?.content;
            }
        }
        // The second name is that of version 5.
        for list in ["additional_special_tokens", "extra_special_tokens"] {
            let tokens: Vec<&Value> = match map.get(list) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(tokens)) => tokens.iter().collect(),
                Some(Value::Object(tokens)) => tokens.values().collect(),
                Some(other) => {
                    return Err(
                        self.wrong(file, format!("{list} is {other}, not a list of tokens"))
                    );
                }
            };
            for value in tokens {
                let token = self.token(file, list, value, true)?;
                extra.push(Added {
                    token,
                    id: None,
                    file,
                });
            }
        }
        Ok(())
    }

    /// `added_tokens_decoder`: tokens by id.
    fn decoder(&mut self, decoder: Option<&Value>) -> Result<(), DataError> {
        const FIELD: &str = "added_tokens_decoder";
        let wrong = |s: &Self| s.wrong(CONFIG, format!("{FIELD} is not an object of tokens by id"));
        let tokens = match decoder {
            None => return Ok(()),
            Some(Value::Object(tokens)) => tokens,
            Some(_) => return Err(wrong(self)),
        };
        for (id, value) in tokens {
            let id: u32 = id.parse().map_err(|_| wrong(self))?;
            self.added.push(Added {
                token: self.token(CONFIG, FIELD, value, false)?,
                id: Some(id),
                file: CONFIG,
            });
        }
        self.added.sort_by_key(|added| added.id);
        Ok(())
    }

    /// `added_tokens.json`: ids by token, special where another file calls them so.
    fn encoder(
        &mut self,
        encoder: Option<&Map<String, Value>>,
        extra: &[Added],
    ) -> Result<(), DataError> {
        for (name, id) in encoder.into_iter().flatten() {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| self.wrong(ADDED, format!("the id of {name:?} is no id")))?;
            let special =
                self.names.contains(name) || extra.iter().any(|e| e.token.content == *name);
            self.added.push(Added {
                token: AddedToken::from(name, special),
                id: Some(id),
                file: ADDED,
            });
        }
        self.added.sort_by_key(|added| added.id);
        Ok(())
    }

    /// A token as a word, or as an object with `content` and how it is matched.
    fn token(
        &self,
        file: &str,
        field: &str,
        value: &Value,
        special: bool,
    ) -> Result<AddedToken, DataError> {
        let content = match value {
            Value::String(content) => Some(content.as_str()),
            value => value.get("content").and_then(Value::as_str),
        };
        let content = content.ok_or_else(|| {
            self.wrong(
                file,
                format!("{field} has {value}, not a token or an object with its \"content\""),
            )
        })?;
        let says = |what: &str| value.get(what).and_then(Value::as_bool);
        let token = AddedToken::from(content, special || says("special") == Some(true));
        let normalized = says("normalized").unwrap_or(token.normalized);
        Ok(token
            .normalized(normalized)
            .lstrip(says("lstrip") == Some(true))
            .rstrip(says("rstrip") == Some(true))
            .single_word(says("single_word") == Some(true)))
    }

    /// An error of one of the files.
    pub fn wrong(&self, file: &str, reason: String) -> DataError {
        DataError::Tokenizer {
            path: self.folder.join(file),
            reason,
        }
    }

    /// Names of the special tokens that have a role.
    pub fn specials(&self) -> &[String] {
        &self.names
    }

    pub fn unk(&self) -> &str {
        &self.names[1]
    }

    pub fn cls(&self) -> &str {
        &self.names[2]
    }

    pub fn sep(&self) -> &str {
        &self.names[3]
    }

    /// A flag, where the configuration says true or false.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.config.get(name).and_then(Value::as_bool)
    }

    /// The class without the `Fast` that some versions write.
    fn class(&self) -> Option<&str> {
        let class = self.config.get("tokenizer_class").and_then(Value::as_str)?;
        Some(class.strip_suffix("Fast").unwrap_or(class))
    }

    /// Whether transformers normalises by the flags rather than as `tokenizer.json` says.
    pub fn obeys_flags(&self) -> bool {
        self.class().is_none_or(|class| BERTS.contains(&class))
    }

    /// Whether transformers takes `tokenizer.json` as it is, what it writes around texts included.
    pub fn is_generic(&self) -> bool {
        let class = self.config.get("tokenizer_class").and_then(Value::as_str);
        class.is_some_and(|class| GENERIC.contains(&class))
    }

    /// Whether the end of a longer text is kept, rather than its beginning.
    pub fn keeps_end(&self) -> bool {
        let side = self.config.get("truncation_side").and_then(Value::as_str);
        side == Some("left")
    }

    /// Whether transformers gives the model token types; none where that is left to `tokenizer.json`.
    pub fn has_types(&self) -> Option<bool> {
        match self.config.get("model_input_names") {
            Some(Value::Array(names)) => Some(names.iter().any(|n| n == "token_type_ids")),
            // The class's own list.
            _ if self.class() == Some("DistilBertTokenizer") => Some(false),
            _ if self.is_generic() => None,
            _ => Some(true),
        }
    }
}

/// A JSON object of the folder, none where there is no such file.
fn object(folder: &Path, name: &str) -> Result<Option<Map<String, Value>>, DataError> {
    let path = folder.join(name);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DataError::Io { path, source }),
    };
    match serde_json::from_str(&text) {
        Ok(map) => Ok(Some(map)),
        Err(e) => Err(DataError::Tokenizer {
            path,
            reason: format!("not a JSON object ({e})"),
        }),
    }
}
