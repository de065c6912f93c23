//! Kinds of keys: of the leaf, of the CA, of the root.

use std::sync::Arc;

use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA256, PKCS_ECDSA_P521_SHA512,
    PKCS_ED25519, PKCS_RSA_SHA256, PKCS_RSA_SHA384, PKCS_RSA_SHA512, SignatureAlgorithm,
};

use crate::Case;
use crate::make::{Chain, Recipe, key, key_for, self_signed, signed};

const ALL: [(&str, &SignatureAlgorithm); 6] = [
    ("P-256", &PKCS_ECDSA_P256_SHA256),
    ("P-384", &PKCS_ECDSA_P384_SHA384),
    ("P-521", &PKCS_ECDSA_P521_SHA512),
    ("P-521 with SHA-256", &PKCS_ECDSA_P521_SHA256),
    ("Ed25519", &PKCS_ED25519),
    ("RSA 2048", &PKCS_RSA_SHA256),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // RSA keys take long to find, so that each is used often.
    let keys: Vec<(&str, Arc<KeyPair>)> = ALL.map(|(name, algorithm)| (name, key_for(algorithm))).into();
    for (leaf_name, leaf_key) in &keys {
        for (ca_name, ca_key) in &keys {
            let chain = of(key(), Arc::clone(ca_key), Arc::clone(leaf_key));
            cases.push(chain.case(format!("algorithms: leaf {leaf_name}, CA {ca_name}")));
        }
    }
    for (root_name, root_key) in &keys {
        let chain = of(Arc::clone(root_key), key(), key());
        cases.push(chain.case(format!("algorithms: root {root_name}")));
    }
    let rsa = &keys[keys.len() - 1].1;
    for (name, algorithm) in [("SHA-384", &PKCS_RSA_SHA384), ("SHA-512", &PKCS_RSA_SHA512)] {
        let signer = KeyPair::from_pkcs8_pem_and_sign_algo(&rsa.serialize_pem(), algorithm);
        let signer = Arc::new(signer.expect("a key that was written can be read"));
        cases.push(of(key(), signer, key()).case(format!("algorithms: CA RSA 2048 with {name}")));
    }
    cases
}

fn of(root: Arc<KeyPair>, ca: Arc<KeyPair>, leaf: Arc<KeyPair>) -> Chain {
    let Recipe { root: root_params, between, leaf: leaf_params } = Recipe::with_cas(1);
    let root = self_signed(root_params, root);
    let ca = signed(between[0].clone(), ca, &root);
    let leaf = signed(leaf_params, leaf, &ca);
    Chain(vec![root, ca, leaf])
}
