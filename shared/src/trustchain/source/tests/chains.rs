use super::*;

/// The chain of a source, as places in a list of certificates.
fn places(source: &Source, of: &[Vec<u8>]) -> Vec<usize> {
    let chain = source.chain.as_ref().unwrap();
    let place = |certificate: &Certificate| of.iter().position(|der| der == certificate.der()).unwrap();
    chain.certificates().map(place).collect()
}

#[test]
fn a_shuffled_chain_is_put_in_order_whatever_the_order_was() {
    let chain = chain_of_four();
    for mut number in 0..24 {
        let mut rest: Vec<usize> = (0..4).collect();
        let mut shuffled = Vec::new();
        while !rest.is_empty() {
            let next = number % rest.len();
            number /= rest.len().max(1);
            shuffled.push(rest.remove(next));
        }
        let pem: String = shuffled.iter().map(|index| certificate(&chain[*index])).collect();
        let source = parse(pem.as_bytes()).unwrap();
        assert_eq!(places(&source, &chain), [0, 1, 2, 3], "{shuffled:?}");
        let noted = source.notes.iter().any(|note| note.contains("not in order"));
        assert_eq!(noted, shuffled != [0, 1, 2, 3], "{shuffled:?}: {:?}", source.notes);
    }
    let [leaf, lower, upper, root] = &chain;
    insta::assert_snapshot!(words(pem_of(&[root, upper, leaf, lower]).as_bytes()), @"
    PEM
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=lower < CN=upper < CN=root
    note: the certificates were not in order, the leaf first and every signer after what it signed: here they are (3, 4, 2, 1)
    note: a root comes with the chain (CN=root): that it fits proves nothing, peers go by their own bundle
    ");
}

#[test]
fn certificates_that_are_there_twice_are_shown_once() {
    let [leaf, lower, ..] = chain_of_four();
    insta::assert_snapshot!(words(pem_of(&[&leaf, &lower, &leaf, &lower, &lower]).as_bytes()), @"
    PEM
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=lower
    note: certificates of the chain are there more than once: 3 (as 1), 4 (as 2), 5 (as 2)
    ");
}

#[test]
fn a_circle_of_signers_ends() {
    // Each has signed the other; names and keys fit all the way round.
    let (key_of_a, key_of_b) = (key(), key());
    let self_signed = |name: &str, key: KeyPair| CertifiedIssuer::self_signed(ca(name), key).unwrap();
    let a = self_signed("a", key_of_a);
    let b = self_signed("b", key_of_b);
    let a_by_b = ca("a").signed_by(a.key(), &b).unwrap().der().to_vec();
    let b_by_a = ca("b").signed_by(b.key(), &a).unwrap().der().to_vec();
    let leaf = signed(&leaf(), &a);
    insta::assert_snapshot!(words(pem_of(&[&b_by_a, &leaf, &a_by_b]).as_bytes()), @"
    PEM
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=a < CN=b
    note: the certificates were not in order, the leaf first and every signer after what it signed: here they are (2, 3, 1)
    note: signers go round in a circle: CN=a, CN=b
    ");
    // With the roots that make sense of it, nothing is lost either.
    let all = pem_of(&[&leaf, &a_by_b, a.der(), &b_by_a, b.der()]);
    assert_eq!(parse(all.as_bytes()).unwrap().chain.unwrap().certificates().count(), 5);
}

#[test]
fn one_that_signed_itself_and_is_no_ca_is_a_chain_of_one() {
    let der = leaf().self_signed(&key()).unwrap().der().to_vec();
    insta::assert_snapshot!(words(certificate(&der).as_bytes()), @"
    PEM
    chain: spiffe://foo.com/ns/sample/sa/sleep
    ");
}

#[test]
fn certificates_that_do_not_belong_to_the_chain_are_named() {
    let [leaf, lower, ..] = chain_of_four();
    let stranger = root();
    // The same name as a signer of the chain, and another key.
    let renewed = below("lower", &stranger);
    insta::assert_snapshot!(words(pem_of(&[stranger.der(), &leaf, renewed.der(), &lower]).as_bytes()), @"
    PEM
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=lower
    other: CN=root
    other: CN=lower
    note: 2 certificates in it did not sign anything of the chain
    ");
}

#[test]
fn of_several_workloads_the_first_is_taken_and_the_others_are_named() {
    let root = root();
    let mut other = leaf();
    other.subject_alt_names = vec![uri("spiffe://foo.com/ns/sample/sa/helloworld")];
    let pem = pem_of(&[root.der(), &signed(&leaf(), &root), &signed(&other, &root)]);
    insta::assert_snapshot!(words(pem.as_bytes()), @"
    PEM
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=root
    other: spiffe://foo.com/ns/sample/sa/helloworld
    note: it has certificates of 2 workloads: the chain is that of the first, spiffe://foo.com/ns/sample/sa/sleep
    note: the certificates were not in order, the leaf first and every signer after what it signed: here they are (2, 1)
    note: a root comes with the chain (CN=root): that it fits proves nothing, peers go by their own bundle
    note: 1 certificate in it did not sign anything of the chain
    ");
}

#[test]
fn a_workload_that_is_marked_as_a_ca_by_mistake_is_a_workload() {
    let root = root();
    let mut params = ca("workload");
    params.subject_alt_names = vec![uri(SLEEP)];
    let pem = pem_of(&[root.der(), &signed(&params, &root)]);
    insta::assert_snapshot!(words(pem.as_bytes()), @"
    PEM
    chain: spiffe://foo.com/ns/sample/sa/sleep < CN=root
    note: the certificates were not in order, the leaf first and every signer after what it signed: here they are (2, 1)
    note: a root comes with the chain (CN=root): that it fits proves nothing, peers go by their own bundle
    ");
}

#[test]
fn a_signer_that_is_no_ca_is_no_leaf() {
    let root = root();
    let mut params = named("workload that signs");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let signer = CertifiedIssuer::signed_by(params, key(), &root).unwrap();
    let ders = [signed(&leaf(), &signer), signer.der().to_vec(), root.der().to_vec()];
    let source = parse(pem_of(&[&ders[1], &ders[2], &ders[0]]).as_bytes()).unwrap();
    assert_eq!(places(&source, &ders), [0, 1, 2]);
}

#[test]
fn a_chain_without_key_identifiers_is_put_in_order_by_names() {
    let without = |mut params: CertificateParams| {
        params.use_authority_key_identifier_extension = false;
        params
    };
    let root = root();
    let lower = CertifiedIssuer::signed_by(without(ca("lower")), key(), &root).unwrap();
    let ders = [signed(&without(leaf()), &lower), lower.der().to_vec(), root.der().to_vec()];
    let source = parse(pem_of(&[&ders[2], &ders[1], &ders[0]]).as_bytes()).unwrap();
    assert_eq!(places(&source, &ders), [0, 1, 2]);
}

#[test]
fn more_signers_than_a_chain_can_have_are_refused() {
    let mut issuer = root();
    let mut ders = vec![issuer.der().to_vec()];
    for number in 0..100 {
        issuer = below(&format!("ca {number}"), &issuer);
        ders.push(issuer.der().to_vec());
    }
    ders.push(signed(&leaf(), &issuer));
    let pem: String = ders.iter().map(|der| certificate(der)).collect();
    insta::assert_snapshot!(words(pem.as_bytes()), @"
    error: it has more than 100 certificates, which is the most that is looked at
    hint: give the chain of one workload, or the bundle of one trust domain
    ");
    let pem: String = ders[1..].iter().skip(1).map(|der| certificate(der)).collect();
    assert_eq!(parse(pem.as_bytes()).unwrap().chain.unwrap().certificates().count(), 100);
}

#[test]
fn the_roots_that_a_system_trusts_are_a_bundle_of_up_to_a_thousand() {
    let der = root().der().to_vec();
    let pem = certificate(&der);
    assert!(parse(pem.repeat(1000).as_bytes()).is_ok());
    insta::assert_snapshot!(words(pem.repeat(1001).as_bytes()), @"
    error: it has more than 1000 certificates, which is the most that is looked at
    hint: give the chain of one workload, or the bundle of one trust domain
    ");
    assert_eq!(words(&der.repeat(1001)), words(pem.repeat(1001).as_bytes()));
}
