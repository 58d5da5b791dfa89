/* The library of handshakes has less than OpenSSL's default provider, and nothing that TLS uses is missing. Where it is not made
 * (OpenSSL 3.2 and later), the same holds of the usual context. */
#include "sidecar/tls/tls_priv.h"
#include "tests/unit/child.h"
#include "tls_world.h"

#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/provider.h>

static SSL_CTX *with_all_suites(OSSL_LIB_CTX *library)
{
    SSL_CTX *c = SSL_CTX_new_ex(library, NULL, TLS_server_method());
    SSL_CTX_set_security_level(c, 0);
    assert_int_equal(SSL_CTX_set_cipher_list(c, "ALL:COMPLEMENTOFALL"), 1);
    return c;
}

/* A context has those of the known suites whose algorithms its library has. */
static void every_suite_is_there(void **state)
{
    (void)state;
    SSL_CTX *all = with_all_suites(NULL), *ours = with_all_suites(tls_library());
    STACK_OF(SSL_CIPHER) *wanted = SSL_CTX_get_ciphers(all), *got = SSL_CTX_get_ciphers(ours);
    assert_true(sk_SSL_CIPHER_num(wanted) > 60);
    for (int i = 0; i < sk_SSL_CIPHER_num(wanted); i++)
        if (sk_SSL_CIPHER_find(got, sk_SSL_CIPHER_value(wanted, i)) < 0)
            fail_msg("%s is missing", SSL_CIPHER_get_name(sk_SSL_CIPHER_value(wanted, i)));
    SSL_CTX_free(all);
    SSL_CTX_free(ours);
}

static int check_group(const OSSL_PARAM *params, void *count)
{
    const OSSL_PARAM *name = OSSL_PARAM_locate_const(params, OSSL_CAPABILITY_TLS_GROUP_NAME);
    SSL_CTX *c = SSL_CTX_new_ex(tls_library(), NULL, TLS_server_method());
    char *text = name->data;
    if (SSL_CTX_set1_groups_list(c, text) != 1)
        fail_msg("group %s is missing", text);
    SSL_CTX_free(c);
    ++*(unsigned *)count;
    return 1;
}

static void every_group_is_there(void **state)
{
    (void)state;
    unsigned count = 0;
    OSSL_PROVIDER *whole = OSSL_PROVIDER_load(NULL, "default");
    assert_int_equal(OSSL_PROVIDER_get_capabilities(whole, "TLS-GROUP", check_group, &count), 1);
    assert_true(count > 10);
    OSSL_PROVIDER_unload(whole);
}

/* A certificate that signs itself, read and verified as in a handshake. */
static void check_certificate(EVP_PKEY *key, const EVP_MD *digest)
{
    assert_non_null(key);
    OSSL_LIB_CTX *before = OSSL_LIB_CTX_set0_default(tls_library());
    X509 *made = X509_new(), *read = X509_new_ex(tls_library(), NULL);
    X509_gmtime_adj(X509_getm_notBefore(made), 0);
    X509_gmtime_adj(X509_getm_notAfter(made), 60);
    X509_set_pubkey(made, key);
    assert_true(X509_sign(made, key, digest) > 0);
    unsigned char *der = NULL;
    const unsigned char *p;
    int n = i2d_X509(made, &der);
    p = der;
    assert_non_null(d2i_X509(&read, &p, n));
    if (!X509_get0_pubkey(read) || X509_verify(read, X509_get0_pubkey(read)) != 1)
        fail_msg("a certificate of %s is not read, or not verified", EVP_PKEY_get0_type_name(key));
    OSSL_LIB_CTX_set0_default(before);
    OPENSSL_free(der);
    X509_free(made);
    X509_free(read);
    EVP_PKEY_free(key);
}

static EVP_PKEY *pss_key(void)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *making = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
    EVP_PKEY_keygen_init(making);
    EVP_PKEY_generate(making, &key);
    EVP_PKEY_CTX_free(making);
    return key;
}

static void certificates_of_every_key_of_tls_are_read(void **state)
{
    (void)state;
    check_certificate(EVP_RSA_gen(2048), EVP_sha256());
    check_certificate(EVP_RSA_gen(2048), EVP_sha1());
    check_certificate(pss_key(), EVP_sha384());
    check_certificate(EVP_EC_gen("P-256"), EVP_sha256());
    check_certificate(EVP_EC_gen("P-384"), EVP_sha384());
    check_certificate(EVP_EC_gen("P-521"), EVP_sha512());
    check_certificate(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL);
    check_certificate(EVP_PKEY_Q_keygen(NULL, NULL, "ED448"), NULL);
}

static void count(OSSL_DECODER *d, void *n)
{
    (void)d;
    ++*(unsigned *)n;
}

static void it_has_few_decoders(void **state)
{
    (void)state;
    unsigned whole = 0, ours = 0;
    if (!tls_library())
        skip(); /* OpenSSL 3.2 and later */
    OSSL_DECODER_do_all_provided(NULL, count, &whole);
    OSSL_DECODER_do_all_provided(tls_library(), count, &ours);
    assert_int_equal(ours, 6);
    assert_true(whole >= 30);
}

/* ---- What is decided once in a process: in one of its own, where nothing of OpenSSL was used before. ---- */

static enum child_verdict obeys_two(void)
{
    bool ok = OSSL_PROVIDER_load(NULL, "null") && OSSL_PROVIDER_load(NULL, "default") && !tls_library();
    return ok ? CHILD_RIGHT : CHILD_WRONG;
}

static enum child_verdict obeys_one(void)
{
    bool ok = OSSL_PROVIDER_load(NULL, "null") && !tls_library() && !OSSL_PROVIDER_available(NULL, "default");
    return ok ? CHILD_RIGHT : CHILD_WRONG;
}

static void other_providers_are_obeyed_and_none_is_added(void **state)
{
    (void)state;
    check_in_child(obeys_two);
    check_in_child(obeys_one);
}

/* The public key of Ed448 is made with SHAKE256, of PKCS #8 with PBKDF2: the default provider fetches them for itself, and finds them. */
static enum child_verdict makes_and_reads_keys(void)
{
    OSSL_LIB_CTX_set0_default(tls_library());
    EVP_PKEY *made = EVP_PKEY_Q_keygen(tls_library(), NULL, "ED448");
    BIO *text = BIO_new(BIO_s_mem());
    OSSL_LIB_CTX *usual = OSSL_LIB_CTX_get0_global_default();
    bool ok = made && PEM_write_bio_PKCS8PrivateKey(text, made, EVP_CIPHER_fetch(usual, "AES-256-CBC", NULL), "x", 1, NULL, NULL) == 1;
    EVP_PKEY *read = PEM_read_bio_PrivateKey_ex(text, NULL, NULL, (void *)(uintptr_t) "x", usual, NULL);
    return ok && read && EVP_PKEY_eq(made, read) == 1 ? CHILD_RIGHT : CHILD_WRONG;
}

static void the_providers_own_algorithms_are_found_whoever_asks_first(void **state)
{
    (void)state;
    check_in_child(makes_and_reads_keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_providers_are_obeyed_and_none_is_added), /* first: nothing is made yet */
        cmocka_unit_test(the_providers_own_algorithms_are_found_whoever_asks_first),
        cmocka_unit_test(every_suite_is_there),
        cmocka_unit_test(every_group_is_there),
        cmocka_unit_test(certificates_of_every_key_of_tls_are_read),
        cmocka_unit_test(it_has_few_decoders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
