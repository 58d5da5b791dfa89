/* What an operator gives may be wrong: each fault is found before a worker sees it, and named. */
#include "tls_world.h"

static struct cert ca, leaf, other;
static struct tls_pair pair;

static int set_up(void **state)
{
    (void)state;
    world.arena = arena_new(4096);
    ca = cert_make(world.arena, (struct cert_order){.common_name = "ca", .is_ca = true, .path_length = -1});
    leaf = cert_make(world.arena, (struct cert_order){.common_name = "leaf", .issuer = &ca, .sans = "DNS:a.example,URI:spiffe://d/a"});
    other = cert_make(world.arena, (struct cert_order){.common_name = "other", .issuer = &ca, .sans = "DNS:a.example"});
    pair = (struct tls_pair){.chain = leaf.pem, .key = leaf.key_pem};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cert_free(&ca);
    cert_free(&leaf);
    cert_free(&other);
    arena_free(&world.arena);
    return 0;
}

static struct tls_spec spec(void)
{
    return (struct tls_spec){.side = TLS_DOWNSTREAM, .pairs = &pair, .pair_count = 1};
}

static void refused(struct tls_spec s, const char *why)
{
    struct err err = {0};
    struct tls_material *m = tls_material_new(&s, arena_new(512), &err);
    if (m || !strstr(err.text, why))
        fail_msg("wanted \"%s\", got \"%s\"", why, m ? "material" : err.text);
}

static void pairs_that_are_no_good_are_refused(void **state)
{
    (void)state;
    struct cert weak = cert_make(world.arena, (struct cert_order){.common_name = "w", .key = KEY_RSA_1024});
    struct cert curve = cert_make(world.arena, (struct cert_order){.common_name = "c", .key = KEY_P224});
    struct cert edward = cert_make(world.arena, (struct cert_order){.common_name = "e", .key = KEY_ED25519});
    const struct {
        struct tls_pair pair;
        const char *why;
    } cases[] = {
        {{.chain = STR(""), .key = leaf.key_pem}, "tls_certificates[0]: certificate_chain: holds no certificate"},
        {{.chain = STR("nonsense"), .key = leaf.key_pem}, "certificate_chain: holds no certificate"},
        {{.chain = str_sub(leaf.pem, 0, leaf.pem.n - 40), .key = leaf.key_pem}, "certificate_chain: a certificate in it cannot be read"},
        {{.chain = leaf.pem, .key = STR("")}, "private_key: cannot be read"},
        {{.chain = leaf.pem, .key = leaf.pem}, "private_key: cannot be read"},
        {{.chain = leaf.pem, .key = other.key_pem}, "private_key: does not belong to the first certificate"},
        {{.chain = weak.pem, .key = weak.key_pem}, "2048 bits or more, got 1024"},
        {{.chain = curve.pem, .key = curve.key_pem}, "P-256, P-384 or P-521, got secp224r1"},
        {{.chain = edward.pem, .key = edward.key_pem}, "RSA and ECDSA certificates are supported"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_spec s = spec();
        struct tls_pair p = cases[i].pair;
        s.pairs = &p;
        refused(s, cases[i].why);
    }
    cert_free(&weak);
    cert_free(&curve);
    cert_free(&edward);
}

static void a_key_may_have_a_password(void **state)
{
    (void)state;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, leaf.key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL), 1);
    pair.key = cert_take(bio, world.arena);
    refused(spec(), "private_key: cannot be read");
    pair.password = STR("wrong");
    refused(spec(), "is the password right?");
    pair.password = STR("secret");
    struct err err = {0};
    struct tls_spec s = spec();
    struct tls_material *m = tls_material_new(&s, arena_new(512), &err);
    assert_non_null(m);
    tls_material_unref(&m);
}

static void rules_that_cannot_hold_are_refused(void **state)
{
    (void)state;
    struct tls_san_match san = {TLS_SAN_DNS, {.kind = STR_MATCH_EXACT, .text = {"a", 1}}};
    struct str empty = STR("");
    struct tls_spec s = spec();
    s.san_count = 1;
    s.sans = &san;
    refused(s, "without trusted CA is insecure and not allowed");
    s = spec();
    s.crl = STR("x");
    refused(s, "crl: belongs to a trusted_ca");
    s.trusted_ca = ca.pem;
    refused(s, "crl: holds no list of revocation");
    s.trusted_ca = STR("nothing");
    refused(s, "trusted_ca: holds no certificate");
    s = spec();
    s.alpn = &empty;
    s.alpn_count = 1;
    refused(s, "alpn_protocols[0]: 1 to 255 bytes");
    s = spec();
    s.min = TLS_VERSION_1_3;
    s.max = TLS_VERSION_1_2;
    refused(s, "is above");
    s = spec();
    s.pair_count = 0;
    refused(s, "no TLS certificates found for server context");
    s = (struct tls_spec){.side = TLS_UPSTREAM, .pairs = (struct tls_pair[]){pair, pair}, .pair_count = 2};
    refused(s, "a client has one, got 2");
}

static void suites_are_taken_by_name_alone(void **state)
{
    (void)state;
    static const char *const bad[] = {"NONSENSE", "ALL", "HIGH", "aNULL", "eNULL", "ECDHE-RSA-AES128-GCM-SHA256:!aNULL", "@SECLEVEL=0",
                                      "TLS_AES_128_GCM_SHA256x"};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct tls_spec s = spec();
        s.ciphers = str_of(bad[i]);
        refused(s, "tls_params.cipher_suites");
    }
    struct tls_spec s = spec();
    s.curves = STR("P-256:nonsense");
    refused(s, "tls_params.ecdh_curves");
    s = spec();
    s.signature_algorithms = STR("nonsense");
    refused(s, "tls_params.signature_algorithms");
}

static void certificates_are_told_with_their_dates_and_names(void **state)
{
    (void)state;
    struct err err = {0};
    struct tls_spec s = spec();
    s.trusted_ca = ca.pem;
    struct tls_material *m = tls_material_new(&s, arena_new(512), &err);
    struct tls_certificate_facts facts;
    assert_int_equal(tls_material_certificate_count(m), 2);
    tls_material_certificate(m, 0, world.arena, &facts);
    assert_true(facts.is_authority);
    tls_material_certificate(m, 1, world.arena, &facts);
    assert_false(facts.is_authority);
    assert_string_equal(facts.names.p, "a.example");
    assert_string_equal(facts.uris.p, "spiffe://d/a");
    assert_true(facts.not_after_s - facts.not_before_s > 86400);
    tls_material_unref(&m);
}

static void equal_sources_make_the_same_material(void **state)
{
    (void)state;
    struct err err = {0};
    struct tls_spec s = spec(), t = spec();
    struct tls_pair second = {.chain = other.pem, .key = other.key_pem};
    t.pairs = &second;
    struct tls_material *a = tls_material_new(&s, arena_new(512), &err), *b = tls_material_new(&s, arena_new(512), &err),
                        *c = tls_material_new(&t, arena_new(512), &err);
    assert_true(tls_material_is_same(a, b));
    assert_false(tls_material_is_same(a, c));
    tls_material_unref(&a);
    tls_material_unref(&b);
    tls_material_unref(&c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(pairs_that_are_no_good_are_refused),
        CASE(a_key_may_have_a_password),
        CASE(rules_that_cannot_hold_are_refused),
        CASE(suites_are_taken_by_name_alone),
        CASE(certificates_are_told_with_their_dates_and_names),
        CASE(equal_sources_make_the_same_material),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
