//! `spec.demo`: where the images of the demo applications come from.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{Findings, checked, keys};
use super::values;

const HELLOWORLD_V1: &str = "docker.io/istio/examples-helloworld-v1:1.0";
const HELLOWORLD_V2: &str = "docker.io/istio/examples-helloworld-v2:1.0";
const SLEEP: &str = "docker.io/curlimages/curl:8.16.0";
const PRODUCTPAGE: &str = "docker.io/istio/examples-bookinfo-productpage-v1:1.20.3";
const DETAILS: &str = "docker.io/istio/examples-bookinfo-details-v1:1.20.3";
const RATINGS: &str = "docker.io/istio/examples-bookinfo-ratings-v1:1.20.3";
const REVIEWS_V1: &str = "docker.io/istio/examples-bookinfo-reviews-v1:1.20.3";
const REVIEWS_V2: &str = "docker.io/istio/examples-bookinfo-reviews-v2:1.20.3";
const REVIEWS_V3: &str = "docker.io/istio/examples-bookinfo-reviews-v3:1.20.3";

/// Container images of the demo applications.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoImages {
    /// helloworld in the first cluster.
    pub helloworld_v1: String,
    /// helloworld in the other clusters.
    pub helloworld_v2: String,
    /// sleep, with `/bin/sleep`, a shell and curl.
    pub sleep: String,
    /// productpage of bookinfo.
    pub productpage: String,
    /// details of bookinfo.
    pub details: String,
    /// ratings of bookinfo.
    pub ratings: String,
    /// reviews of bookinfo, without stars.
    pub reviews_v1: String,
    /// reviews of bookinfo, with black stars.
    pub reviews_v2: String,
    /// reviews of bookinfo, with red stars.
    pub reviews_v3: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DemoFile {
    /// Container images.
    images: Option<DemoImagesFile>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DemoImagesFile {
    /// helloworld in the first cluster.
    #[schemars(extend("default" = HELLOWORLD_V1))]
    helloworld_v1: Option<String>,
    /// helloworld in the other clusters.
    #[schemars(extend("default" = HELLOWORLD_V2))]
    helloworld_v2: Option<String>,
    /// sleep, from which calls are made: with `/bin/sleep`, a shell and curl.
    #[schemars(extend("default" = SLEEP))]
    sleep: Option<String>,
    /// productpage of bookinfo.
    #[schemars(extend("default" = PRODUCTPAGE))]
    productpage: Option<String>,
    /// details of bookinfo.
    #[schemars(extend("default" = DETAILS))]
    details: Option<String>,
    /// ratings of bookinfo.
    #[schemars(extend("default" = RATINGS))]
    ratings: Option<String>,
    /// reviews of bookinfo, without stars.
    #[schemars(extend("default" = REVIEWS_V1))]
    reviews_v1: Option<String>,
    /// reviews of bookinfo, with black stars.
    #[schemars(extend("default" = REVIEWS_V2))]
    reviews_v2: Option<String>,
    /// reviews of bookinfo, with red stars.
    #[schemars(extend("default" = REVIEWS_V3))]
    reviews_v3: Option<String>,
}

/// Checks the images that are given and fills in the others. `None` when one is wrong, which has been added to the findings.
pub(super) fn resolve(file: Option<DemoFile>, findings: &mut Findings) -> Option<DemoImages> {
    let file = file.and_then(|demo| demo.images).unwrap_or_default();
    let mut image = |key: &str, given: Option<String>, default: &str| {
        let text = given.as_deref().unwrap_or(default);
        checked(values::image(text), keys(&["spec", "demo", "images", key]), findings)
    };
    let helloworld_v1 = image("helloworldV1", file.helloworld_v1, HELLOWORLD_V1);
    let helloworld_v2 = image("helloworldV2", file.helloworld_v2, HELLOWORLD_V2);
    let sleep = image("sleep", file.sleep, SLEEP);
    let productpage = image("productpage", file.productpage, PRODUCTPAGE);
    let details = image("details", file.details, DETAILS);
    let ratings = image("ratings", file.ratings, RATINGS);
    let reviews_v1 = image("reviewsV1", file.reviews_v1, REVIEWS_V1);
    let reviews_v2 = image("reviewsV2", file.reviews_v2, REVIEWS_V2);
    let reviews_v3 = image("reviewsV3", file.reviews_v3, REVIEWS_V3);
    Some(DemoImages {
        helloworld_v1: helloworld_v1?,
        helloworld_v2: helloworld_v2?,
        sleep: sleep?,
        productpage: productpage?,
        details: details?,
        ratings: ratings?,
        reviews_v1: reviews_v1?,
        reviews_v2: reviews_v2?,
        reviews_v3: reviews_v3?,
    })
}
