/* Owns the library context of handshakes: OpenSSL's default provider, as far as TLS needs it.
 *
 * OpenSSL 3.0 and 3.1 compose a decoder anew for the public key of each certificate, out of every decoder that they have, and look
 * through every algorithm that they ever fetched meanwhile: 1.3 million instructions a certificate, half of a handshake with client
 * certificates. Here they find what a handshake may need alone. The algorithms themselves are the default provider's, called with
 * its own context (provider-base(7), OSSL_PROVIDER(3)); keys and certificates that were read elsewhere are good here, too. Later
 * versions keep the decoders that they composed.
 *
 * Where openssl.cnf activates another provider (FIPS, say), it is obeyed and handshakes have the usual context; its sections of TLS
 * are obeyed in any case, [random] and default_properties in the usual context alone. */
#include "sidecar/base/die.h"
#include "sidecar/tls/tls_priv.h"

#include <openssl/core_dispatch.h>
#include <openssl/provider.h>
#include <string.h>

#define KEYS "RSA:RSA-PSS:EC:DSA:ED25519:ED448"
#define ALGORITHMS_MAX 40

/* By the first name of each; an operation that is not here has all that there are. All cipher suites, groups and signature
 * algorithms that the default provider has work with these. */
struct selection {
    int operation;
    const char *names;
    OSSL_ALGORITHM algorithms[ALGORITHMS_MAX + 1];
};
static struct selection selections[] = {
    {.operation = OSSL_OP_CIPHER,
     .names = "AES-128-CBC:AES-256-CBC:AES-128-GCM:AES-256-GCM:AES-128-CCM:AES-256-CCM:ChaCha20-Poly1305:"
              "AES-128-CBC-HMAC-SHA1:AES-256-CBC-HMAC-SHA1:AES-128-CBC-HMAC-SHA256:AES-256-CBC-HMAC-SHA256:"
              "ARIA-128-GCM:ARIA-256-GCM:CAMELLIA-128-CBC:CAMELLIA-256-CBC:NULL"},
    {.operation = OSSL_OP_KEYMGMT, .names = KEYS ":X25519:X448:DH:HMAC"},
    {.operation = OSSL_OP_DECODER, .names = KEYS},
};

static struct {
    pthread_once_t once;
    OSSL_LIB_CTX *context; /* NULL: the usual one */
    OSSL_PROVIDER *whole;
} library = {.once = PTHREAD_ONCE_INIT};

/* ---- The selection. ---- */

static bool is_named(const char *names, const OSSL_ALGORITHM *a)
{
    struct str rest = str_of(names), name, first = {a->algorithm_names, strcspn(a->algorithm_names, ":")};
    while (str_next(&rest, ':', &name))
        if (str_ieq(name, first))
            return true;
    return false;
}

/* Of decoders those of the form that stands in certificates. */
static bool is_selected(const struct selection *s, const OSSL_ALGORITHM *a)
{
    return is_named(s->names, a) && (s->operation != OSSL_OP_DECODER || (strstr(a->property_definition, "input=der") &&
                                                                         strstr(a->property_definition, "SubjectPublicKeyInfo")));
}

static void make_selection(struct selection *s)
{
    int no_cache;
    unsigned n = 0;
    const OSSL_ALGORITHM *all = OSSL_PROVIDER_query_operation(library.whole, s->operation, &no_cache);
    for (; all && all->algorithm_names; all++)
        if (is_selected(s, all)) {
            assert(n < ALGORITHMS_MAX);
            s->algorithms[n++] = *all;
        }
}

/* ---- The provider. ---- */

static const OSSL_ALGORITHM *query(void *provctx, int operation, int *no_cache)
{
    (void)provctx;
    *no_cache = 0;
    for (unsigned i = 0; i < ARRAY_LEN(selections); i++)
        if (selections[i].operation == operation)
            return selections[i].algorithms;
    return OSSL_PROVIDER_query_operation(library.whole, operation, no_cache);
}

static int get_capabilities(void *provctx, const char *capability, OSSL_CALLBACK *cb, void *arg)
{
    (void)provctx;
    return OSSL_PROVIDER_get_capabilities(library.whole, capability, cb, arg);
}

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **provctx)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
        {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))get_capabilities},
        {0, NULL},
    };
    (void)handle;
    (void)in;
    *out = functions;
    *provctx = OSSL_PROVIDER_get0_provider_ctx(library.whole);
    return 1;
}

/* ---- The making. ---- */

static int count_provider(OSSL_PROVIDER *p, void *count)
{
    (void)p;
    ++*(unsigned *)count;
    return 1;
}

static void must(bool ok)
{
    if (!ok)
        die("out of memory, or OpenSSL's default provider cannot be used");
}

static void make(void)
{
    /* Not NULL, which is the thread's default whenever the provider fetches something for itself. */
    OSSL_LIB_CTX *usual = OSSL_LIB_CTX_get0_global_default();
    unsigned count = 0;
    if (OPENSSL_version_major() > 3 || OPENSSL_version_minor() > 1)
        return;
    OSSL_PROVIDER_do_all(usual, count_provider, &count);
    if (count != 1 || !OSSL_PROVIDER_available(usual, "default"))
        return;
    library.whole = OSSL_PROVIDER_load(usual, "default");
    library.context = OSSL_LIB_CTX_new();
    must(library.whole && library.context);
    for (unsigned i = 0; i < ARRAY_LEN(selections); i++)
        make_selection(&selections[i]);
    must(OSSL_PROVIDER_add_builtin(library.context, "handshakes", init) == 1 && OSSL_PROVIDER_load(library.context, "handshakes"));
}

OSSL_LIB_CTX *tls_library(void)
{
    pthread_once(&library.once, make);
    return library.context;
}
