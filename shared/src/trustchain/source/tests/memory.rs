//! What large inputs take. Measured in a process of its own, as nothing else tells one test's memory from another's.

use super::*;

/// How long a form is that costs nothing to go through, in bytes: almost as long as what is read.
const LARGE: usize = 50 << 20;
/// How long a form is that has to be longer than what is decoded of it.
const UNDECODED: usize = 10 << 20;
/// How long a form is that has something in every few bytes. Tests are not optimised, and each of these things costs; what is kept of
/// them has a most, so that of a shorter input it is the larger part, and what a longer one would break this one breaks first.
const TOKENS: usize = 4 << 20;
const CASE: &str = "SPIRE_MESH_TEST_LARGE_INPUT";

/// Large inputs of every form.
fn large(case: &str) -> Vec<u8> {
    let [leaf, lower, ..] = chain_of_four();
    let size = match case {
        "PEM" | "remarks" | "DER" => LARGE,
        "one secret" | "one field" | "one certificate in PEM" | "beginnings" | "long DER" | "YAML" => {
            UNDECODED
        }
        "garbage in DER" | "garbage" => UNDECODED,
        _ => TOKENS,
    };
    let filled = |before: &str, unit: &str, after: &str| {
        format!("{before}{}{after}", unit.repeat(size / unit.len())).into_bytes()
    };
    match case {
        "listeners" => {
            let dump = std::str::from_utf8(CONFIG_DUMP).unwrap().trim_end();
            let listener = r#"{"name": "listener", "active_state": {"listener": {"address": [1, 2, 3.5, null, true]}}},"#;
            let first = format!(
                r#"{{"configs": [{{"dynamic_listeners": [{}{{}}]}},"#,
                listener.repeat(size / listener.len())
            );
            dump.replacen("{\n \"configs\": [", &first, 1).into_bytes()
        }
        "empty sections" => filled(r#"{"configs": ["#, "{},", "{}]}"),
        "empty secrets" => filled(r#"{"dynamicActiveSecrets": ["#, r#"{"name":""},"#, r#"{"name":""}]}"#),
        "one secret" => {
            let name = r#"{"dynamicActiveSecrets": [{"name": "default", "secret": {"tlsCertificate": {"certificateChain": {"inlineBytes": ""#;
            filled(name, "AAAA", r#""}}}}]}"#)
        }
        "keys" => filled(r#"{"keys": ["#, r#"{"x5c":[""]},"#, "{}]}"),
        "certificates of a key" => {
            filled(r#"{"keys": [{"use": "x509-svid", "x5c": ["#, r#""","#, r#"""]}]}"#)
        }
        "fields" => filled(r#"{"kind": "Secret", "data": {"#, r#""a":"b","#, r#""a":"b"}}"#),
        "one field" => filled(r#"{"kind": "Secret", "data": {"tls.crt": ""#, "AAAA", r#""}}"#),
        "one key" => filled(r#"{"kind": "Secret", "data": {"tls.key": ""#, "AAAA", r#""}}"#),
        "PEM" => filled("", &pem_of(&[&leaf, &lower]), ""),
        "one certificate in PEM" => {
            filled("-----BEGIN CERTIFICATE-----\n", "AAAA\n", "-----END CERTIFICATE-----\n")
        }
        "keys in PEM" => {
            filled(&certificate(&leaf), "-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----\n", "")
        }
        "beginnings" => filled("", "-----BEGIN CERTIFICATE-----\n", ""),
        "dashes" => filled(&certificate(&leaf), "-", ""),
        "remarks" => filled("", "# nothing\n", &certificate(&leaf)),
        "DER" => leaf.repeat(size / leaf.len()),
        "garbage in DER" => vec![0x30; size],
        "long DER" => [b"\x30\x83\xff\xff\xff".as_slice(), &vec![0; size]].concat(),
        "YAML" => filled("kind: Secret\ndata:\n", "  a: b\n", ""),
        "garbage" => vec![b'x'; size],
        case => panic!("no case {case}"),
    }
}

/// The cases, and whether something is found in them.
const CASES: [(&str, bool); 20] = [
    ("listeners", true),
    ("empty sections", false),
    ("empty secrets", false),
    ("one secret", false),
    ("keys", false),
    ("certificates of a key", false),
    ("fields", false),
    ("one field", false),
    ("one key", false),
    ("PEM", false),
    ("one certificate in PEM", false),
    ("keys in PEM", true),
    ("beginnings", false),
    ("dashes", true),
    ("remarks", true),
    ("DER", false),
    ("garbage in DER", false),
    ("long DER", false),
    ("YAML", false),
    ("garbage", false),
];

/// Returns the most memory that this process has had, in bytes.
#[cfg(target_os = "linux")]
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Not a test of its own: what the one below runs for every case.
#[cfg(target_os = "linux")]
#[test]
fn one_large_input() {
    let Ok(case) = std::env::var(CASE) else { return };
    let input = large(&case);
    // The code that it takes is in memory then: it is no more for a longer input.
    let warm: [&[u8]; 2] = [CONFIG_DUMP, b"x"];
    for input in warm {
        drop(parse(input));
    }
    // From here on the most is that of parsing, where the kernel allows it.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = most_memory();
    let result = parse(&input);
    let more = most_memory().saturating_sub(before);
    println!("{case}: {}% of the input", more * 100 / input.len());
    assert!(more <= 3 * input.len(), "{case}: {more} bytes more than the input's {}", input.len());
    let found = CASES.iter().find(|(name, _)| *name == case).unwrap().1;
    assert_eq!(result.is_ok(), found, "{case}: {:?}", result.err());
}

#[cfg(target_os = "linux")]
#[test]
fn a_large_input_takes_no_more_than_four_times_its_size() {
    let program = std::env::current_exe().unwrap();
    let this = module_path!().split_once("::").unwrap().1;
    for (case, _) in CASES {
        let mut command = std::process::Command::new(&program);
        command.args(["--exact", &format!("{this}::one_large_input"), "--nocapture"]).env(CASE, case);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{case}: {said}{}", String::from_utf8_lossy(&output.stderr));
        // It ran, and was not filtered away.
        assert!(said.contains("% of the input"), "{case}: {said}");
    }
}

#[test]
fn large_inputs_that_are_refused_are_refused_in_words() {
    let lines =
        ["empty sections", "one secret", "PEM", "one certificate in PEM", "beginnings", "DER", "YAML"]
            .map(|case| format!("[{case}]\n{}", words(&large(case))));
    insta::assert_snapshot!(lines.join("\n"));
}
