//! The functions of AWS-LC, behind types that own what these give.

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::ptr::{self, NonNull};

use aws_lc_sys as aws;

/// Paths begin with what is trusted as early as they can. AWS-LC and `BoringSSL` have that by default.
const TRUSTED_FIRST: u32 = aws::X509_V_FLAG_TRUSTED_FIRST.cast_unsigned();
/// Policies are looked at, which `BoringSSL` always does.
const POLICIES: u32 = aws::X509_V_FLAG_POLICY_CHECK.cast_unsigned();
/// Times are not looked at, so that they do not decide which issuer is taken, as they do not in `BoringSSL`.
const NO_TIMES: u32 = aws::X509_V_FLAG_NO_CHECK_TIME.cast_unsigned();

/// A certificate as AWS-LC read it.
pub(crate) struct Certificate(NonNull<aws::X509>);

impl Certificate {
    /// Reads DER. `None` where it is no certificate, or something follows it.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let length = c_long::try_from(der.len()).ok()?;
        let mut next = der.as_ptr();
        // SAFETY: `next` points at `length` bytes that live as long as the call, and is a variable of our own. What comes back is null, or
        // ours to free; nothing is written into a certificate that is there, as there is none.
        let read = unsafe { aws::d2i_X509(ptr::null_mut(), &raw mut next, length) };
        let read = NonNull::new(read).map(Self);
        forget_errors();
        // It is moved behind what was read.
        read.filter(|_| ptr::eq(next, der.as_ptr_range().end))
    }

    /// Compares its validity with a time in seconds since 1970.
    pub(crate) fn validity(&self, at: i64) -> Validity {
        // SAFETY: the certificate is alive, and so is what it gives of itself.
        let begin = unsafe { aws::X509_get0_notBefore(self.0.as_ptr()) };
        // SAFETY: as above.
        let end = unsafe { aws::X509_get0_notAfter(self.0.as_ptr()) };
        // SAFETY: `begin` belongs to the certificate, which is alive.
        let begin = unsafe { aws::X509_cmp_time_posix(begin, at) };
        // SAFETY: so does `end`.
        let end = unsafe { aws::X509_cmp_time_posix(end, at) };
        forget_errors();
        // Zero says that it is no time; a time that is the same is below.
        match (begin, end) {
            (0, _) | (_, 0) => Validity::Unreadable,
            (1.., _) => Validity::NotYet,
            (_, ..0) => Validity::Ended,
            _ => Validity::Valid,
        }
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nothing of ours points at it any more; AWS-LC counts references of its own.
        unsafe { aws::X509_free(self.0.as_ptr()) }
    }
}

/// What a validity comes to at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Validity {
    Valid,
    NotYet,
    Ended,
    Unreadable,
}

/// What AWS-LC found.
pub(crate) struct Outcome {
    /// The path, or how far it came: indexes of the certificates, counted from the leaf (0) over what was sent to the authorities.
    pub(crate) chain: Vec<usize>,
    /// What failed (`X509_V_ERR_*`), and at which place of the path.
    pub(crate) failure: Option<(i32, usize)>,
}

/// Has AWS-LC build the path and verify it, but for times.
///
/// `None` where there is no memory left.
pub(crate) fn verify(
    leaf: &Certificate,
    sent: &[Certificate],
    authorities: &[Certificate],
) -> Option<Outcome> {
    let (store, any_policy) = (Store::new()?, Stack::of(&[])?);
    let (sent_with, trusted) = (Stack::of(sent)?, Stack::of(authorities)?);
    // Dropped before what it points at.
    let context = Context::new()?;
    let raw = context.0.as_ptr();
    // SAFETY: the context is new; store, leaf and stack are declared before it, so that they live longer.
    let begun = unsafe {
        aws::X509_STORE_CTX_init(raw, store.0.as_ptr(), leaf.0.as_ptr(), sent_with.0.as_ptr().cast())
    };
    if begun != 1 {
        return None;
    }
    // Not by way of the store, which sorts what is put into it: the order counts.
    // SAFETY: the context was begun; the stack is declared before it, so that it lives longer.
    unsafe { aws::X509_STORE_CTX_set0_trusted_stack(raw, trusted.0.as_ptr().cast()) };
    // SAFETY: the context was begun.
    unsafe { aws::X509_STORE_CTX_set_flags(raw, c_ulong::from(TRUSTED_FIRST | POLICIES | NO_TIMES)) };
    // SAFETY: the context was begun; what comes back belongs to it.
    let settings = unsafe { aws::X509_STORE_CTX_get0_param(raw) };
    // Without a list AWS-LC takes a demand for a policy for a lack of memory; an empty one stands for any policy.
    // SAFETY: the settings belong to the context, which is alive; the list is copied.
    let any = unsafe { aws::X509_VERIFY_PARAM_set1_policies(settings, any_policy.0.as_ptr().cast()) };
    if any != 1 {
        return None;
    }
    // SAFETY: the context was begun, and the function asks for no more than that it is alive.
    unsafe { aws::X509_STORE_CTX_set_verify_cb(raw, Some(but_for_the_authority)) };
    // SAFETY: the context was begun, and has verified nothing yet.
    let verified = unsafe { aws::X509_verify_cert(raw) };
    let failure = (verified != 1).then(|| context.failure());
    let all: Vec<&Certificate> = [leaf].into_iter().chain(sent).chain(authorities).collect();
    let chain = context.chain(&all);
    forget_errors();
    Some(Outcome { chain, failure })
}

/// Passes over what is wrong with an authority itself: `BoringSSL` asks neither whether it is a CA nor for its extensions.
unsafe extern "C" fn but_for_the_authority(ok: c_int, context: *mut aws::X509_STORE_CTX) -> c_int {
    // SAFETY: AWS-LC gives the context that verifies, which is alive.
    let code = unsafe { aws::X509_STORE_CTX_get_error(context) };
    if !matches!(code, aws::X509_V_ERR_INVALID_CA | aws::X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION) {
        return ok;
    }
    // SAFETY: as above.
    let depth = unsafe { aws::X509_STORE_CTX_get_error_depth(context) };
    // SAFETY: as above; what comes back belongs to it.
    let chain = unsafe { aws::X509_STORE_CTX_get0_chain(context) };
    // SAFETY: the chain is null or alive, and null has the length zero.
    let length = unsafe { aws::OPENSSL_sk_num(chain.cast::<aws::OPENSSL_STACK>().cast_const()) };
    // Both are looked for once the path is there, so that the last one is the authority.
    let is_authority = depth > 0 && usize::try_from(depth).is_ok_and(|depth| depth + 1 == length);
    if is_authority { 1 } else { ok }
}

/// Settings of a verification; it holds no certificates.
struct Store(NonNull<aws::X509_STORE>);

impl Store {
    fn new() -> Option<Self> {
        // SAFETY: it needs nothing; what comes back is null or ours.
        NonNull::new(unsafe { aws::X509_STORE_new() }).map(Self)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: it is ours, and the context that used it is gone.
        unsafe { aws::X509_STORE_free(self.0.as_ptr()) }
    }
}

/// Pointers to certificates, which it does not own.
struct Stack(NonNull<aws::OPENSSL_STACK>);

impl Stack {
    fn of(certificates: &[Certificate]) -> Option<Self> {
        // SAFETY: it needs nothing; what comes back is null or ours.
        let stack = Self(NonNull::new(unsafe { aws::OPENSSL_sk_new_null() })?);
        for certificate in certificates {
            let pointer = certificate.0.as_ptr().cast::<c_void>();
            // SAFETY: the stack is alive and keeps the pointer only; the certificate outlives it in `verify`.
            let length = unsafe { aws::OPENSSL_sk_push(stack.0.as_ptr(), pointer) };
            if length == 0 {
                return None;
            }
        }
        Some(stack)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: it is ours; this frees the pointers, and not what they point at.
        unsafe { aws::OPENSSL_sk_free(self.0.as_ptr()) }
    }
}

/// One verification.
struct Context(NonNull<aws::X509_STORE_CTX>);

impl Context {
    fn new() -> Option<Self> {
        // SAFETY: it needs nothing; what comes back is null or ours.
        NonNull::new(unsafe { aws::X509_STORE_CTX_new() }).map(Self)
    }

    fn failure(&self) -> (i32, usize) {
        // SAFETY: the context is alive.
        let code = unsafe { aws::X509_STORE_CTX_get_error(self.0.as_ptr()) };
        // SAFETY: the context is alive.
        let depth = unsafe { aws::X509_STORE_CTX_get_error_depth(self.0.as_ptr()) };
        (code, usize::try_from(depth).unwrap_or(0))
    }

    /// Says which of these certificates the path is made of.
    fn chain(&self, of: &[&Certificate]) -> Vec<usize> {
        // SAFETY: the context is alive; what comes back is null, or belongs to it.
        let chain = unsafe { aws::X509_STORE_CTX_get0_chain(self.0.as_ptr()) };
        let chain = chain.cast::<aws::OPENSSL_STACK>().cast_const();
        // SAFETY: null has the length zero.
        let length = unsafe { aws::OPENSSL_sk_num(chain) };
        let certificates = (0..length).filter_map(|index| {
            // SAFETY: the index is below the length.
            let found = unsafe { aws::OPENSSL_sk_value(chain, index) }.cast::<aws::X509>().cast_const();
            of.iter().position(|certificate| ptr::eq(certificate.0.as_ptr(), found))
        });
        certificates.collect()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { aws::X509_STORE_CTX_free(self.0.as_ptr()) }
    }
}

/// Empties the thread's list of errors, which nobody here reads, and rustls' own calls should not find.
fn forget_errors() {
    // SAFETY: it needs nothing.
    unsafe { aws::ERR_clear_error() }
}
