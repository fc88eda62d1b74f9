//! The transformer on a tiny model that is made here: right shapes, one text one vector, clear refusals.
//!
//! Not here: whether a trained model understands anything; the retrieval benchmark measures that.

use std::{fs, path::Path};

use runtime::disk::OsDisk;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::*;

const HIDDEN: usize = 32;
const WIDE: usize = 64;
const LAYERS: usize = 2;
const POSITIONS: usize = 24;
const WORDS: [&str; 10] =
    ["hive", "memory", "plum", "cake", "agent", "stores", "recall", "old", "new", "server"];

/// Special tokens, some words, every letter alone and as the rest of a word.
fn vocabulary() -> Vec<String> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].into_iter().chain(WORDS);
    let letters = ('a'..='z').flat_map(|c| [c.to_string(), format!("##{c}")]);
    special.map(str::to_owned).chain(letters).collect()
}

fn tokenizer() -> Value {
    let vocabulary = vocabulary();
    let ids: Map<String, Value> =
        vocabulary.iter().enumerate().map(|(id, word)| (word.clone(), json!(id))).collect();
    let added: Vec<Value> = vocabulary[..4]
        .iter()
        .enumerate()
        .map(|(id, word)| {
            json!({ "id": id, "content": word, "special": true, "single_word": false,
                    "lstrip": false, "rstrip": false, "normalized": false })
        })
        .collect();
    let special = |id: u32, word: &str| json!({ "id": word, "ids": [id], "tokens": [word] });
    let wrapped = |name: &str| {
        json!([{ "SpecialToken": { "id": "[CLS]", "type_id": 0 } },
               { "Sequence": { "id": name, "type_id": 0 } },
               { "SpecialToken": { "id": "[SEP]", "type_id": 0 } }])
    };
    json!({
        "version": "1.0",
        // As published files have it: both must be overruled.
        "truncation": { "max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right" },
        "padding": { "strategy": { "Fixed": 8 }, "direction": "Right", "pad_to_multiple_of": null,
                     "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]" },
        "added_tokens": added,
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "TemplateProcessing", "single": wrapped("A"),
            "pair": wrapped("A"),
            "special_tokens": { "[CLS]": special(2, "[CLS]"), "[SEP]": special(3, "[SEP]") } },
        "decoder": null,
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": ids },
    })
}

fn config() -> Value {
    json!({
        "model_type": "bert", "vocab_size": vocabulary().len(), "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": WIDE,
        "hidden_act": "gelu", "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "pad_token_id": 0,
    })
}

/// Names and shapes of all tensors.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut all = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![vocabulary().len(), HIDDEN]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![POSITIONS, HIDDEN]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, HIDDEN]),
    ];
    let mut pair = |name: String, shape: Vec<usize>| {
        all.push((format!("{name}.bias"), vec![shape[0]]));
        all.push((format!("{name}.weight"), shape));
    };
    pair("embeddings.LayerNorm".into(), vec![HIDDEN]);
    for layer in (0..LAYERS).map(|at| format!("encoder.layer.{at}")) {
        for part in ["self.query", "self.key", "self.value", "output.dense"] {
            pair(format!("{layer}.attention.{part}"), vec![HIDDEN, HIDDEN]);
        }
        pair(format!("{layer}.attention.output.LayerNorm"), vec![HIDDEN]);
        pair(format!("{layer}.intermediate.dense"), vec![WIDE, HIDDEN]);
        pair(format!("{layer}.output.dense"), vec![HIDDEN, WIDE]);
        pair(format!("{layer}.output.LayerNorm"), vec![HIDDEN]);
    }
    all
}

/// A safetensors file: length of the header, header, numbers; weights from a fixed xorshift.
fn weights() -> Vec<u8> {
    let (mut header, mut body, mut state) = (Map::new(), Vec::new(), 0x9e37_79b9_7f4a_7c15u64);
    for (name, shape) in tensors() {
        let start = body.len();
        for _ in 0..shape.iter().product() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let random = (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            let gain = name.ends_with("LayerNorm.weight");
            let number = if gain { 1.0 } else { random };
            body.extend(number.to_le_bytes());
        }
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, body.len()] });
        header.insert(name, entry);
    }
    let header = serde_json::to_vec(&header).expect("JSON");
    [&(header.len() as u64).to_le_bytes()[..], &header, &body].concat()
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (file, value) in [(CONFIG, config()), (TOKENIZER, tokenizer())] {
        fs::write(folder.path().join(file), value.to_string()).expect("written");
    }
    fs::write(folder.path().join(WEIGHTS), weights()).expect("written");
    folder
}

fn load(folder: &Path) -> Result<MiniLmEmbedder, EmbedError> {
    MiniLmEmbedder::load(&OsDisk::shared(), folder)
}

async fn embed(model: &MiniLmEmbedder, texts: &[&str]) -> Vec<Option<Vec<f32>>> {
    model.embed(texts.iter().map(|t| (*t).to_owned()).collect()).await.expect("embedded")
}

fn distance(a: &Option<Vec<f32>>, b: &Option<Vec<f32>>) -> f32 {
    let (a, b) = (a.as_ref().expect("a vector"), b.as_ref().expect("a vector"));
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

const LONG: &str = "the old agent stores a new memory and the hive serves plum cake to everybody";

#[tokio::test]
async fn vectors_have_the_models_dimension_and_unit_length() {
    let folder = folder();
    let model = load(folder.path()).expect("loads");
    let space = model.space();
    assert_eq!(usize::from(space.dimension), HIDDEN);
    assert_eq!(space.version.len(), 2 * VERSION_BYTES);
    assert_eq!(Some(space.model.as_str()), folder.path().file_name().and_then(|n| n.to_str()));
    for vector in embed(&model, &["plum cake", LONG]).await {
        let vector = vector.expect("a vector");
        assert_eq!(vector.len(), HIDDEN);
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[tokio::test]
async fn a_text_has_one_vector_alone_and_in_company() {
    let folder = folder();
    let model = load(folder.path()).expect("loads");
    let alone = embed(&model, &["plum cake"]).await;
    assert_eq!(alone, embed(&model, &["plum cake"]).await);
    let company = embed(&model, &[LONG, "plum cake", "hive"]).await;
    assert!(distance(&alone[0], &company[1]) < 1e-5);
    assert!(distance(&alone[0], &company[0]) > 1e-3);
    assert!(distance(&alone[0], &company[2]) > 1e-3);
    let again = load(folder.path()).expect("loads");
    assert_eq!(alone, embed(&again, &["plum cake"]).await);
}

#[tokio::test]
async fn a_long_list_keeps_its_order_and_its_gaps() {
    let folder = folder();
    let model = load(folder.path()).expect("loads");
    let texts: Vec<&str> = (0..3).flat_map(|_| WORDS).chain([" … ", ""]).collect();
    let vectors = embed(&model, &texts).await;
    assert_eq!(vectors.len(), texts.len());
    assert!(distance(&vectors[3], &vectors[23]) < 1e-5);
    assert!(distance(&vectors[3], &vectors[24]) > 1e-3);
    assert!(vectors[31].is_none(), "an empty text has no vector");
}

#[tokio::test]
async fn texts_are_cut_where_the_folder_says() {
    let folder = folder();
    fs::write(folder.path().join(SENTENCES), r#"{"max_seq_length": 5}"#).expect("written");
    let model = load(folder.path()).expect("loads");
    let vectors = embed(&model, &["hive memory plum", "hive memory plum cake agent", "hive"]).await;
    assert!(distance(&vectors[0], &vectors[1]) < 1e-5);
    assert!(distance(&vectors[0], &vectors[2]) > 1e-3);
}

#[tokio::test]
async fn other_weights_are_another_version() {
    let (one, two) = (folder(), folder());
    let mut bytes = weights();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(two.path().join(WEIGHTS), bytes).expect("written");
    let (one, two) = (load(one.path()).expect("loads"), load(two.path()).expect("loads"));
    assert_ne!(one.space().version, two.space().version);
}

fn refusal(spoil: impl Fn(&Path)) -> String {
    let folder = folder();
    spoil(folder.path());
    match load(folder.path()) {
        Ok(_) => panic!("a spoilt folder was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_missing_or_corrupt_is_refused_by_name() {
    for file in [CONFIG, TOKENIZER, WEIGHTS] {
        let missing = refusal(|folder| fs::remove_file(folder.join(file)).expect("removed"));
        assert!(missing.contains(file), "{missing}");
        let cut = refusal(|folder| {
            let bytes = fs::read(folder.join(file)).expect("read");
            fs::write(folder.join(file), &bytes[..bytes.len() / 2]).expect("written");
        });
        assert!(cut.contains(file), "{cut}");
    }
}

#[test]
fn files_that_do_not_fit_each_other_are_refused() {
    let with = |field: &str, value: Value| {
        let mut config = config();
        config[field] = value;
        refusal(|folder| fs::write(folder.join(CONFIG), config.to_string()).expect("written"))
    };
    assert!(with("hidden_size", json!(16)).contains(WEIGHTS));
    assert!(with("num_hidden_layers", json!(3)).contains("encoder.layer.2"));
    assert!(with("num_attention_heads", json!(5)).contains("num_attention_heads"));
    assert!(with("vocab_size", json!(20)).contains("vocab_size"));
    assert!(with("model_type", json!("gpt2")).contains("gpt2"));
    let cramped = refusal(|folder| {
        fs::write(folder.join(SENTENCES), r#"{"max_seq_length": 2}"#).expect("written");
    });
    assert!(cramped.contains("no room"), "{cramped}");
    let pooled = refusal(|folder| {
        fs::create_dir(folder.join("1_Pooling")).expect("made");
        fs::write(folder.join(POOLING), r#"{"pooling_mode_cls_token": true}"#).expect("written");
    });
    assert!(pooled.contains("mean pooling"), "{pooled}");
}

#[test]
fn weights_that_compute_nonsense_are_refused() {
    let spoilt = refusal(|folder| {
        let mut bytes = weights();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(folder.join(WEIGHTS), bytes).expect("written");
    });
    assert!(spoilt.contains("not finite"), "{spoilt}");
}
