//! The example that embeds lode does what it says.

#[allow(dead_code)]
#[path = "../examples/embed.rs"]
mod embed;

#[tokio::test(flavor = "multi_thread")]
async fn the_embedding_example_gets_every_change() {
    let data = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    embed::run(data.path(), &mut out).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains(r#"event {"event":"mine","mine":"shop","state":{"state":"running"}}"#), "{out}");
    let figures: Vec<_> = out.lines().filter(|line| !line.starts_with("event ")).collect();
    insta::assert_snapshot!(figures.join("\n"));
}
