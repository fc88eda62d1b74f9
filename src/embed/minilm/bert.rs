//! The layers of BERT (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018)
//! as far as sentence embeddings need them.
//!
//! Invariant: what is masked has no influence on what is not: its attention weight is exactly 0.
//!
//! Not here: training (no dropout, no gradients), pooling, text. Written out rather than taken from a
//! collection of models: these hundred lines replace a dependency that compiles every published architecture.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Embedding, LayerNorm, Linear, VarBuilder, embedding, layer_norm, linear, ops};
use serde::Deserialize;

/// Added to the attention score of a masked token. Its exponential is 0 beside any real score.
const MASKED: f64 = -1e9;

/// What `config.json` says.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct BertConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: Activation,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    layer_norm_eps: f64,
    #[serde(default)]
    pub(super) pad_token_id: u32,
    #[serde(default)]
    model_type: Option<String>,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default, rename = "_name_or_path")]
    pub(super) name_or_path: Option<String>,
}

fn two() -> usize {
    2
}

/// Activation between the two halves of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Activation {
    /// With the error function.
    Gelu,
    /// Approximated with the hyperbolic tangent.
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluNew,
    Relu,
}

impl BertConfig {
    /// Says what is wrong with it, if anything.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{field} is 0"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!(
                "hidden_size {} does not divide into {} num_attention_heads",
                self.hidden_size, self.num_attention_heads
            ));
        }
        if let Some(other) = self.model_type.as_deref().filter(|kind| *kind != "bert") {
            return Err(format!("model_type {other:?} is not supported; use a bert model"));
        }
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => Ok(()),
            Some(other) => Err(format!("position_embedding_type {other:?} is not supported")),
        }
    }
}

/// The encoder.
pub(super) struct Bert {
    words: Embedding,
    positions: Embedding,
    /// The embedding of segment 0, the only one a single sentence uses.
    segment: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    heads: usize,
    mixed: Residual,
    widen: Linear,
    activation: Activation,
    narrowed: Residual,
}

/// A linear map whose result is added to what went around it, and normalised.
struct Residual {
    dense: Linear,
    norm: LayerNorm,
}

impl Residual {
    fn load(from: usize, to: usize, eps: f64, tensors: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            dense: linear(from, to, tensors.pp("dense"))?,
            norm: layer_norm(to, eps, tensors.pp("LayerNorm"))?,
        })
    }

    fn forward(&self, inner: &Tensor, around: &Tensor) -> Result<Tensor> {
        self.norm.forward(&(self.dense.forward(inner)? + around)?)
    }
}

impl Layer {
    fn load(config: &BertConfig, tensors: &VarBuilder<'_>) -> Result<Self> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let eps = config.layer_norm_eps;
        let own = tensors.pp("attention.self");
        Ok(Self {
            query: linear(hidden, hidden, own.pp("query"))?,
            key: linear(hidden, hidden, own.pp("key"))?,
            value: linear(hidden, hidden, own.pp("value"))?,
            heads: config.num_attention_heads,
            mixed: Residual::load(hidden, hidden, eps, tensors.pp("attention.output"))?,
            widen: linear(hidden, wide, tensors.pp("intermediate.dense"))?,
            activation: config.hidden_act,
            narrowed: Residual::load(wide, hidden, eps, tensors.pp("output"))?,
        })
    }

    /// Multi-head attention (Vaswani et al., "Attention Is All You Need", 2017).
    fn attend(&self, states: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (batch, length, hidden) = states.dims3()?;
        let head = hidden / self.heads;
        let by_head = |map: &Linear| {
            let all = map.forward(states)?.reshape((batch, length, self.heads, head))?;
            all.transpose(1, 2)?.contiguous()
        };
        let (query, key, value) =
            (by_head(&self.query)?, by_head(&self.key)?, by_head(&self.value)?);
        let scores = (query.matmul(&key.t()?)? / (head as f64).sqrt())?;
        let weights = ops::softmax_last_dim(&scores.broadcast_add(bias)?)?;
        let heads = weights.matmul(&value)?;
        heads.transpose(1, 2)?.contiguous()?.reshape((batch, length, hidden))
    }

    fn forward(&self, states: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let mixed = self.mixed.forward(&self.attend(states, bias)?, states)?;
        let wide = self.widen.forward(&mixed)?;
        let wide = match self.activation {
            Activation::Gelu => wide.gelu_erf()?,
            Activation::GeluNew => wide.gelu()?,
            Activation::Relu => wide.relu()?,
        };
        self.narrowed.forward(&wide, &mixed)
    }
}

impl Bert {
    /// Takes the tensors by their published names, with or without the leading `bert.`.
    pub(super) fn load(config: &BertConfig, tensors: &VarBuilder<'_>) -> Result<Self> {
        let prefixed = tensors.contains_tensor("bert.embeddings.word_embeddings.weight");
        let root = if prefixed { tensors.pp("bert") } else { tensors.clone() };
        let hidden = config.hidden_size;
        let given = root.pp("embeddings");
        let segments =
            given.pp("token_type_embeddings").get((config.type_vocab_size, hidden), "weight")?;
        let encoder = root.pp("encoder.layer");
        let layers = (0..config.num_hidden_layers)
            .map(|at| Layer::load(config, &encoder.pp(at)))
            .collect::<Result<_>>()?;
        Ok(Self {
            words: embedding(config.vocab_size, hidden, given.pp("word_embeddings"))?,
            positions: embedding(
                config.max_position_embeddings,
                hidden,
                given.pp("position_embeddings"),
            )?,
            segment: segments.get(0)?,
            norm: layer_norm(hidden, config.layer_norm_eps, given.pp("LayerNorm"))?,
            layers,
        })
    }

    /// Last states `[batch, length, hidden]` of tokens `[batch, length]`; `mask` of the same shape is 1
    /// for tokens and 0 for padding.
    pub(super) fn forward(&self, tokens: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (_, length) = tokens.dims2()?;
        let places = Tensor::arange(0u32, length as u32, tokens.device())?;
        let states = self.words.forward(tokens)?;
        let states = states.broadcast_add(&self.positions.forward(&places)?)?;
        let mut states = self.norm.forward(&states.broadcast_add(&self.segment)?)?;
        let bias = mask.affine(-MASKED, MASKED)?.unsqueeze(1)?.unsqueeze(1)?;
        for layer in &self.layers {
            states = layer.forward(&states, &bias)?;
        }
        Ok(states)
    }
}
