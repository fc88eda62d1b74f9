//! A sentence embedder that understands meaning: a BERT model from a local folder, on the CPU.
//!
//! The folder holds `config.json`, `tokenizer.json` and `model.safetensors` as published for models
//! such as all-MiniLM-L6-v2; `sentence_bert_config.json` and `1_Pooling/config.json` are read when
//! they are there. A text becomes the mean of its tokens' last states, at unit length (Reimers and
//! Gurevych, "Sentence-BERT", 2019). Nothing is fetched from anywhere.
//!
//! Invariants: what a folder lacks or has wrong is found when it is loaded, by a trial run, and named by file; the
//! version is a digest of the weights, so vectors of two models never meet; one batch is computed at a
//! time, on a thread that may block, and a long list lets others in between its batches.
//!
//! Not here: the layers ([`bert`]). Weights whose bits rotted without changing their shape are not
//! noticed, except that their version is another one. The kernels use a thread pool of their own
//! (`RAYON_NUM_THREADS`), which is why the simulator never runs this embedder.

mod bert;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use runtime::{
    blocking,
    disk::{Disk, DiskRef, read_all},
};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use storage::port::EmbeddingSpace;
use tokenizers::{PostProcessor, Tokenizer, TruncationParams};
use tokio::sync::Mutex;

use self::bert::{Bert, BertConfig};
use super::{EmbedError, Embedded, Embedder, TRANSFORMER_LEXICAL_SHARE};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const SENTENCES: &str = "sentence_bert_config.json";
const POOLING: &str = "1_Pooling/config.json";

/// Tokens looked at when the folder does not say.
const TOKENS_DEFAULT: usize = 256;
/// Texts computed together: enough to use the kernels, few enough that a question waits briefly.
const BATCH_TEXTS: usize = 8;
/// Bytes of the weights' digest that make the version.
const VERSION_BYTES: usize = 6;
/// Greatest dimension a store takes.
const DIMENSION_MAX: usize = 4096;

/// What `sentence_bert_config.json` says.
#[derive(Debug, Default, Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
}

/// What `1_Pooling/config.json` says.
#[derive(Debug, Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
}

/// A transformer from a folder.
pub struct MiniLmEmbedder {
    model: Arc<Model>,
    /// Held while a batch is computed. Fair: a question waits for one batch, not for the whole list.
    turn: Arc<Mutex<()>>,
    name: String,
    version: String,
    dimension: u16,
}

/// Everything a batch needs.
struct Model {
    folder: PathBuf,
    tokenizer: Tokenizer,
    bert: Bert,
    pad: u32,
}

/// The files of a model's folder.
struct Folder<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
}

impl Folder<'_> {
    fn wrong(&self, file: &str, cause: impl std::fmt::Display) -> EmbedError {
        failed(self.path, format!("{file}: {cause}"))
    }

    fn json<T: DeserializeOwned>(&self, file: &str) -> Result<T, EmbedError> {
        let bytes = read_all(self.disk, &self.path.join(file)).map_err(|e| self.wrong(file, e))?;
        serde_json::from_slice(&bytes).map_err(|e| self.wrong(file, e))
    }

    fn optional<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, EmbedError> {
        match self.disk.exists(&self.path.join(file)).map_err(|e| self.wrong(file, e))? {
            true => self.json(file).map(Some),
            false => Ok(None),
        }
    }

    /// The model's configuration, checked, with the number of tokens to look at.
    fn config(&self) -> Result<(BertConfig, usize), EmbedError> {
        let config: BertConfig = self.json(CONFIG)?;
        config.check().map_err(|problem| self.wrong(CONFIG, problem))?;
        if config.hidden_size > DIMENSION_MAX {
            return Err(self.wrong(
                CONFIG,
                format!("hidden_size {} is over {DIMENSION_MAX}", config.hidden_size),
            ));
        }
        let pooling: Option<PoolingConfig> = self.optional(POOLING)?;
        if pooling.is_some_and(|p| !p.pooling_mode_mean_tokens) {
            return Err(self.wrong(POOLING, "only mean pooling is supported"));
        }
        let sentences: SentenceConfig = self.optional(SENTENCES)?.unwrap_or_default();
        let tokens = sentences.max_seq_length.unwrap_or(TOKENS_DEFAULT);
        let tokens = tokens.min(config.max_position_embeddings);
        Ok((config, tokens))
    }

    /// The tokenizer, cutting at `tokens` and never padding: a batch is padded to its own longest.
    fn tokenizer(&self, config: &BertConfig, tokens: usize) -> Result<Tokenizer, EmbedError> {
        let path = self.path.join(TOKENIZER);
        let bytes = read_all(self.disk, &path).map_err(|e| self.wrong(TOKENIZER, e))?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| self.wrong(TOKENIZER, e))?;
        let words = tokenizer.get_vocab_size(true);
        if words > config.vocab_size {
            return Err(self.wrong(
                TOKENIZER,
                format!("{words} tokens where {CONFIG} says vocab_size {}", config.vocab_size),
            ));
        }
        // The tokenizer subtracts its own marks from the limit without looking.
        let marks = tokenizer.get_post_processor().map_or(0, |post| post.added_tokens(false));
        if tokens <= marks {
            return Err(
                self.wrong(SENTENCES, format!("max_seq_length {tokens} leaves no room for text"))
            );
        }
        let cut = TruncationParams { max_length: tokens, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(cut)).map_err(|e| self.wrong(TOKENIZER, e))?;
        tokenizer.with_padding(None);
        Ok(tokenizer)
    }

    /// The layers, and the digest of the file they came from.
    fn weights(&self, config: &BertConfig) -> Result<(Bert, String), EmbedError> {
        let wrong = |e: candle_core::Error| self.wrong(WEIGHTS, e);
        let mapped = self.disk.map(&self.path.join(WEIGHTS)).map_err(|e| self.wrong(WEIGHTS, e))?;
        let digest = Sha256::digest(&*mapped);
        // The tensors are copied out of the mapping: weights replaced under a running node must not
        // change what it computes.
        let tensors =
            VarBuilder::from_slice_safetensors(&mapped, DType::F32, &Device::Cpu).map_err(wrong)?;
        let bert = Bert::load(config, &tensors).map_err(wrong)?;
        Ok((bert, hex::encode(&digest[..VERSION_BYTES])))
    }
}

fn failed(folder: &Path, cause: String) -> EmbedError {
    EmbedError::Model { folder: folder.display().to_string(), cause }
}

impl MiniLmEmbedder {
    /// Loads a model. Blocks for as long as its files take to read; done once, at start.
    ///
    /// # Errors
    /// [`EmbedError::Model`] naming the file that is missing, corrupt or does not fit the others.
    pub fn load(disk: &DiskRef, path: &Path) -> Result<Self, EmbedError> {
        let folder = Folder { disk: &**disk, path };
        let (config, tokens) = folder.config()?;
        let tokenizer = folder.tokenizer(&config, tokens)?;
        let (bert, version) = folder.weights(&config)?;
        let model = Model { folder: path.to_owned(), tokenizer, bert, pad: config.pad_token_id };
        model.embed(&["a trial".to_owned(), "and a longer trial beside it".to_owned()])?;
        let named = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Self {
            model: Arc::new(model),
            turn: Arc::default(),
            name: named.or(config.name_or_path).unwrap_or_else(|| "bert".into()),
            version,
            dimension: config.hidden_size as u16,
        })
    }
}

impl Model {
    fn wrong(&self, cause: impl std::fmt::Display) -> EmbedError {
        failed(&self.folder, cause.to_string())
    }

    /// Embeds texts as one padded batch. Texts without a token of their own get no vector.
    fn embed(&self, texts: &[String]) -> Result<Vec<Option<Vec<f32>>>, EmbedError> {
        let mut rows: Vec<Option<Vec<u32>>> = Vec::with_capacity(texts.len());
        for text in texts {
            let encoding = self.tokenizer.encode(text.as_str(), true);
            let encoding = encoding.map_err(|e| self.wrong(format!("{TOKENIZER}: {e}")))?;
            let says_something = encoding.get_special_tokens_mask().contains(&0);
            rows.push(says_something.then(|| encoding.get_ids().to_vec()));
        }
        let batch: Vec<&[u32]> = rows.iter().flatten().map(Vec::as_slice).collect();
        let vectors = self.compute(&batch).map_err(|e| self.wrong(e))?;
        if vectors.iter().flatten().any(|x| !x.is_finite()) {
            return Err(self.wrong(format!("{WEIGHTS}: a vector came out that is not finite")));
        }
        let mut vectors = vectors.into_iter();
        Ok(rows.into_iter().map(|row| row.and_then(|_| vectors.next())).collect())
    }

    /// Unit vectors of token rows, none of them empty.
    fn compute(&self, rows: &[&[u32]]) -> candle_core::Result<Vec<Vec<f32>>> {
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        if longest == 0 {
            return Ok(Vec::new());
        }
        let shape = (rows.len(), longest);
        let padding = |row: &&[u32]| longest - row.len();
        let tokens: Vec<u32> = rows
            .iter()
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(self.pad, padding(row))))
            .collect();
        let mask: Vec<f32> = rows
            .iter()
            .flat_map(|row| {
                let words = std::iter::repeat_n(1.0, row.len());
                words.chain(std::iter::repeat_n(0.0, padding(row)))
            })
            .collect();
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let states = self.bert.forward(&Tensor::from_vec(tokens, shape, &Device::Cpu)?, &mask)?;
        let sums = states.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?;
        let means = sums.broadcast_div(&mask.sum_keepdim(1)?)?;
        let lengths = means.sqr()?.sum_keepdim(1)?.sqrt()?;
        means.broadcast_div(&lengths)?.to_vec2()
    }
}

impl Embedder for MiniLmEmbedder {
    fn space(&self) -> EmbeddingSpace {
        EmbeddingSpace {
            model: self.name.clone(),
            version: self.version.clone(),
            dimension: self.dimension,
            vectorizer: None,
        }
    }

    fn lexical_share(&self) -> f32 {
        TRANSFORMER_LEXICAL_SHARE
    }

    fn embed(&self, texts: Vec<String>) -> Embedded<'_> {
        Box::pin(async move {
            let mut vectors = Vec::with_capacity(texts.len());
            let mut left = texts.into_iter().peekable();
            while left.peek().is_some() {
                let batch: Vec<String> = left.by_ref().take(BATCH_TEXTS).collect();
                let model = self.model.clone();
                let turn = self.turn.clone().lock_owned().await;
                // The turn goes with the work, which runs to its end even when nobody waits any more.
                let work = move || (model.embed(&batch), turn);
                vectors.extend(blocking::run(work).await.0?);
            }
            Ok(vectors)
        })
    }
}
