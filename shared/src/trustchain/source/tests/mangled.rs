//! Text that went through a mail, a wiki, a terminal or an editor.

use super::*;

/// A chain as it is written, and as it reaches us.
fn forms(pem: &str) -> Vec<(&'static str, Vec<u8>)> {
    let lines = |before: &str, after: &str| {
        let lines: Vec<String> = pem.lines().map(|line| format!("{before}{line}{after}\n")).collect();
        lines.concat().into_bytes()
    };
    let utf16 =
        |order: fn(u16) -> [u8; 2], text: &str| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    let marked = format!("\u{feff}{pem}");
    vec![
        ("Windows", pem.replace('\n', "\r\n").into_bytes()),
        ("mark of UTF-8", marked.clone().into_bytes()),
        ("UTF-16", utf16(u16::to_le_bytes, &marked)),
        ("UTF-16, the other order", utf16(u16::to_be_bytes, &marked)),
        ("UTF-16 without a mark", utf16(u16::to_le_bytes, &pem.replace('\n', "\r\n"))),
        ("indented", lines("    ", "")),
        ("below a key of YAML", [b"  root-cert.pem: |\n".to_vec(), lines("\t  ", "")].concat()),
        ("quoted", lines("> ", "")),
        ("quoted twice", lines(">> ", " ")),
        ("commented out", lines("# ", "")),
        ("in a table of a wiki", lines("| ", " |")),
        ("spaces that do not break", lines("\u{a0}\u{a0}", "\u{a0}")),
        ("empty lines", pem.replace('\n', "\n\n").into_bytes()),
        ("an empty line before the end", pem.replace("-----END", "\n-----END").into_bytes()),
        (
            "an empty line after the beginning",
            pem.replace("CERTIFICATE-----\nMII", "CERTIFICATE-----\n\nMII").into_bytes(),
        ),
        ("one line", pem.replace('\n', " ").into_bytes()),
        ("ends of lines in words", format!("cert = \"{}\"\n", pem.replace('\n', "\\n")).into_bytes()),
        ("quoted-printable", pem.replace('=', "=3D").into_bytes()),
        ("without the last =", pem.replace('=', "").into_bytes()),
        (
            "headers",
            pem.replace("CERTIFICATE-----\nMII", "CERTIFICATE-----\nX-Remark: of mine\n\nMII").into_bytes(),
        ),
        ("in a mail", format!("Hello,\n\nhere it is:\n\n{pem}\n--\nMe\n").into_bytes()),
        ("X509", pem.replace("CERTIFICATE-----", "X509 CERTIFICATE-----").into_bytes()),
    ]
}

#[test]
fn pem_is_the_same_whatever_it_went_through() {
    let [leaf, lower, upper, _] = chain_of_four();
    let pem = pem_of(&[&leaf, &lower, &upper]);
    let whole = parse(pem.as_bytes()).unwrap();
    for (name, bytes) in forms(&pem) {
        assert_eq!(parse(&bytes).as_ref(), Ok(&whole), "{name}");
    }
    // A form that hides a part of a certificate is none.
    for wrong in
        [pem.replacen("MII", "M II!", 1), pem.replacen("MII", "MI-I", 1), pem.replacen("MII", "MI\u{e9}I", 1)]
    {
        assert!(matches!(parse(wrong.as_bytes()), Err(SourceError::Pem { line: 2, .. })), "{wrong}");
    }
}

#[test]
fn json_is_the_same_in_every_order_of_bytes() {
    let whole = parse(ISTIOCTL).unwrap();
    let text = std::str::from_utf8(ISTIOCTL).unwrap();
    let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(parse(&utf16).unwrap(), whole);
    assert_eq!(parse(format!("\u{feff}{text}").as_bytes()).unwrap(), whole);
}

#[test]
fn what_openssl_trusts_a_certificate_for_is_left_out_and_said() {
    let root = root();
    // What `openssl x509 -trustout -addtrust serverAuth` writes behind it.
    let trust = [0x30, 0x0c, 0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
    for behind in [&trust[..], &[]] {
        let pem = block("TRUSTED CERTIFICATE", &[root.der(), behind].concat());
        insta::allow_duplicates! {
            insta::assert_snapshot!(words(pem.as_bytes()), @"
            PEM
            bundle: CN=root
            note: no certificate in it is a workload's: it is taken as a trust bundle
            note: it is OpenSSL's TRUSTED CERTIFICATE, which no other program reads: openssl x509 -in FILE makes a plain one
            ");
        }
    }
    let plain = certificate(&[root.der(), trust.as_slice()].concat());
    assert!(matches!(parse(plain.as_bytes()), Err(SourceError::Certificate { position: 1, .. })));
}

#[test]
fn lines_before_json_and_after_it_are_passed_over() {
    let whole = parse(ISTIOCTL).unwrap();
    let json = std::str::from_utf8(ISTIOCTL).unwrap().trim_end();
    let before = "Defaulted container \"istio-proxy\" out of: istio-proxy, sleep, istio-init (init)\n";
    for text in [
        format!("{before}{json}"),
        format!("{before}{before}\r\n  {json}\n"),
        format!("[2026-11-28 06:35:25] warning: old\n{json}"),
        format!("{json}\ncommand terminated with exit code 137\n$ "),
        format!("$ istioctl proxy-config secret sleep -o json\n{json}\n{before}"),
    ] {
        assert!(parse(text.as_bytes()).as_ref() == Ok(&whole), "{text}");
    }
    // A line with braces in a text about something else does not make it JSON.
    let pem = certificate(&chain_of_four()[0]);
    assert_eq!(parse(format!("{pem}\n{{\n").as_bytes()).unwrap().kind, SourceKind::Pem);
}

#[test]
fn lines_before_yaml_are_passed_over() {
    let secret = secret(&[("tls.crt", &certificate(&chain_of_four()[0]))]);
    let yaml = serde_saphyr::to_string(&secret).unwrap();
    let whole = parse(yaml.as_bytes()).unwrap();
    for before in
        ["Defaulted container \"a\" out of: a, b\n", "$ kubectl get secret -o yaml\n\n", "# a\n---\n"]
    {
        assert_eq!(parse(format!("{before}{yaml}").as_bytes()).as_ref(), Ok(&whole), "{before}");
    }
}
