/* Who is let in: certificates of clients, good and bad in every way that a certificate can be. */
#include "tls_world.h"

static struct cert ca, other_ca, server_leaf, middle, strict, below, narrow, leaf;
static struct tls_pair server_pair, client_pair;

struct bad {
    const char *name;
    struct cert_order order;
    const struct cert *by;    /* NULL: ca; &leaf: self-signed */
    const struct cert *chain[2];
    enum tls_stat counted;
};

static const char good_uri[] = "URI:spiffe://d/ns/x/sa/y";

static const struct bad bads[] = {
    {"an unknown authority", {.sans = good_uri}, .by = &other_ca, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"self-signed", {.sans = good_uri}, .by = &leaf, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"expired", {.sans = good_uri, .start_days = -9, .end_days = -1}, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"not valid yet", {.sans = good_uri, .start_days = 1, .end_days = 9}, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"for signing code", {.sans = good_uri, .extended_usage = "codeSigning"}, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"for servers only", {.sans = good_uri, .extended_usage = "serverAuth"}, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"a key that may not sign", {.sans = good_uri, .usage = "critical,keyEncipherment"}, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"issued by a leaf", {.sans = good_uri}, .by = &leaf, .chain = {&leaf}, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"its authority is missing", {.sans = good_uri}, .by = &middle, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"a path that is too long", {.sans = good_uri}, .by = &below, .chain = {&below, &strict}, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"a name that its authority may not give", {.sans = "URI:spiffe://d/ns/x/sa/y,DNS:a.example"}, .by = &narrow,
     .chain = {&narrow}, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"a weak key", {.sans = good_uri, .key = KEY_RSA_1024}, .counted = TLS_STAT_FAIL_VERIFY_ERROR},
    {"no name", {0}, .counted = TLS_STAT_FAIL_VERIFY_SAN},
    {"another name", {.sans = "URI:spiffe://d/ns/x/sa/z"}, .counted = TLS_STAT_FAIL_VERIFY_SAN},
    {"another trust domain", {.sans = "URI:spiffe://e/ns/x/sa/y"}, .counted = TLS_STAT_FAIL_VERIFY_SAN},
    {"a longer name", {.sans = "URI:spiffe://d/ns/x/sa/y/z"}, .counted = TLS_STAT_FAIL_VERIFY_SAN},
    {"a shorter name", {.sans = "URI:spiffe://d/ns/x/sa/"}, .counted = TLS_STAT_FAIL_VERIFY_SAN},
    {"other capitals", {.sans = "URI:spiffe://d/ns/X/sa/y"}, .counted = TLS_STAT_FAIL_VERIFY_SAN},
    {"the name as DNS", {.raw_dns = {"spiffe://d/ns/x/sa/y", 20}}, .counted = TLS_STAT_FAIL_VERIFY_SAN},
    {"the name as common name", {.common_name = "spiffe://d/ns/x/sa/y"}, .counted = TLS_STAT_FAIL_VERIFY_SAN},
    {"the name as mail", {.sans = "email:y@d"}, .counted = TLS_STAT_FAIL_VERIFY_SAN},
    {"an address", {.sans = "IP:10.0.0.1"}, .counted = TLS_STAT_FAIL_VERIFY_SAN},
};

static struct cert make(struct cert_order o, const struct cert *by)
{
    o.common_name = o.common_name ? o.common_name : "client";
    o.issuer = by;
    return cert_make(world.arena, o);
}

static int set_up(void **state)
{
    (void)state;
    world_init();
    ca = make((struct cert_order){.common_name = "ca", .is_ca = true, .path_length = -1}, NULL);
    other_ca = make((struct cert_order){.common_name = "other", .is_ca = true, .path_length = -1}, NULL);
    server_leaf = make((struct cert_order){.common_name = "server", .sans = "DNS:a.example,DNS:*.wild.example"}, &ca);
    leaf = make((struct cert_order){.common_name = "leaf", .sans = "DNS:leaf"}, &ca);
    middle = make((struct cert_order){.common_name = "middle", .is_ca = true, .path_length = -1}, &ca);
    strict = make((struct cert_order){.common_name = "strict", .is_ca = true}, &ca);
    below = make((struct cert_order){.common_name = "below", .is_ca = true, .path_length = -1}, &strict);
    narrow = make((struct cert_order){.common_name = "narrow", .is_ca = true, .path_length = -1,
                                      .constraints = "critical,permitted;DNS:b.example"}, &ca);
    server_pair = (struct tls_pair){.chain = server_leaf.pem, .key = server_leaf.key_pem};
    return 0;
}

static int tear_down(void **state)
{
    struct cert *all[] = {&ca, &other_ca, &server_leaf, &leaf, &middle, &strict, &below, &narrow};
    (void)state;
    world_fini();
    for (unsigned i = 0; i < ARRAY_LEN(all); i++)
        cert_free(all[i]);
    return 0;
}

static struct tls_san_match good_san = {TLS_SAN_URI, {.kind = STR_MATCH_EXACT, .text = {"spiffe://d/ns/x/sa/y", 20}}};

static struct tls_spec server_spec(void)
{
    return (struct tls_spec){.side = TLS_DOWNSTREAM, .pairs = &server_pair, .pair_count = 1, .trusted_ca = ca.pem,
                             .sans = &good_san, .san_count = 1, .require_certificate = true, .max = TLS_VERSION_1_2};
}

static struct tls_spec client_spec(const struct cert *c, const struct cert *const *chain)
{
    struct str pem = c->pem;
    for (unsigned i = 0; i < 2 && chain && chain[i]; i++)
        pem = arena_printf(world.arena, "%.*s%.*s", STR_FMT(pem), STR_FMT(chain[i]->pem));
    client_pair = (struct tls_pair){.chain = pem, .key = c->key_pem};
    return (struct tls_spec){.side = TLS_UPSTREAM, .pairs = &client_pair, .pair_count = 1, .trusted_ca = ca.pem};
}

/* Whether a client with this certificate gets in. */
static bool gets_in(struct tls_spec server, struct tls_spec client)
{
    world.server_ctx = world_ctx(server);
    world.client_ctx = world_ctx(client);
    world_connect(NULL);
    bool ready = world.pair.client.ready_calls == 1 && world.pair.server.ready_calls == 1;
    world_disconnect();
    tls_ctx_unref(&world.server_ctx);
    tls_ctx_unref(&world.client_ctx);
    return ready;
}

static void bad_certificates_are_refused_and_counted(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bads); i++) {
        const struct bad *b = &bads[i];
        bool is_self = b->by == &leaf && !b->chain[0];
        struct cert c = make(b->order, is_self ? NULL : b->by ? b->by : &ca);
        uint64_t before = world_server_stat(b->counted);
        /* A client would not load a weak key itself. */
        if (b->order.key == KEY_RSA_1024) {
            struct err err = {0};
            struct tls_spec spec = client_spec(&c, NULL);
            assert_null(tls_material_new(&spec, arena_new(1024), &err));
            assert_non_null(strstr(err.text, "2048 bits"));
            cert_free(&c);
            continue;
        }
        if (gets_in(server_spec(), client_spec(&c, b->chain)))
            fail_msg("let in: %s", b->name);
        if (world_server_stat(b->counted) != before + 1)
            fail_msg("not counted: %s", b->name);
        cert_free(&c);
    }
}

static void good_certificates_get_in(void **state)
{
    (void)state;
    struct cert direct = make((struct cert_order){.sans = good_uri, .extended_usage = "clientAuth"}, &ca);
    struct cert through = make((struct cert_order){.sans = "DNS:x,URI:spiffe://d/ns/x/sa/y"}, &middle);
    const struct cert *chain[2] = {&middle};
    assert_true(gets_in(server_spec(), client_spec(&direct, NULL)));
    assert_true(gets_in(server_spec(), client_spec(&through, chain)));
    struct tls_spec only_middle = server_spec();
    only_middle.trusted_ca = middle.pem; /* not self-signed, and trusted by itself */
    assert_true(gets_in(only_middle, client_spec(&through, NULL)));
    assert_int_equal(world_server_stat(TLS_STAT_NO_CERTIFICATE), 0);
    cert_free(&direct);
    cert_free(&through);
}

static void names_match_in_every_kind(void **state)
{
    (void)state;
    static const struct {
        enum tls_san_type type;
        struct str_match match;
        const char *sans;
        bool fits;
    } cases[] = {
        {TLS_SAN_URI, {.kind = STR_MATCH_PREFIX, .text = {"spiffe://d/", 11}}, "URI:spiffe://d/x", true},
        {TLS_SAN_URI, {.kind = STR_MATCH_PREFIX, .text = {"spiffe://d/", 11}}, "URI:spiffe://dd/x", false},
        {TLS_SAN_URI, {.kind = STR_MATCH_SUFFIX, .text = {"/sa/y", 5}}, "URI:spiffe://d/sa/y", true},
        {TLS_SAN_URI, {.kind = STR_MATCH_CONTAINS, .text = {"/ns/x/", 6}}, "URI:spiffe://d/ns/x/sa", true},
        {TLS_SAN_DNS, {.kind = STR_MATCH_EXACT, .text = {"a.example", 9}}, "DNS:A.EXAMPLE", true},
        {TLS_SAN_DNS, {.kind = STR_MATCH_EXACT, .text = {"x.a.example", 11}}, "DNS:*.a.example", true},
        {TLS_SAN_DNS, {.kind = STR_MATCH_EXACT, .text = {"x.y.a.example", 13}}, "DNS:*.a.example", false},
        {TLS_SAN_DNS, {.kind = STR_MATCH_EXACT, .text = {"a.example", 9}}, "DNS:*.a.example", false},
        {TLS_SAN_DNS, {.kind = STR_MATCH_EXACT, .text = {"xa.example", 10}}, "DNS:*a.example", false},
        {TLS_SAN_DNS, {.kind = STR_MATCH_SUFFIX, .text = {".example", 8}}, "DNS:a.example", true},
        {TLS_SAN_IP, {.kind = STR_MATCH_EXACT, .text = {"10.0.0.1", 8}}, "IP:10.0.0.1", true},
        {TLS_SAN_IP, {.kind = STR_MATCH_EXACT, .text = {"::1", 3}}, "IP:0:0:0:0:0:0:0:1", true},
        {TLS_SAN_IP, {.kind = STR_MATCH_EXACT, .text = {"10.0.0.1", 8}}, "DNS:10.0.0.1", false},
        {TLS_SAN_EMAIL, {.kind = STR_MATCH_EXACT, .text = {"a@b", 3}}, "email:a@b", true},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_san_match san = {cases[i].type, cases[i].match};
        struct tls_spec server = server_spec();
        server.sans = &san;
        struct cert c = make((struct cert_order){.sans = cases[i].sans}, &ca);
        if (gets_in(server, client_spec(&c, NULL)) != cases[i].fits)
            fail_msg("case %u: %s", i, cases[i].sans);
        cert_free(&c);
    }
}

static void a_name_with_a_nul_is_no_name(void **state)
{
    (void)state;
    static const struct str names[] = {{"a.example\0.evil", 15}, {"\0a.example", 10}, {"a.example\0", 10}, {"", 0}};
    struct tls_san_match san = {TLS_SAN_DNS, {.kind = STR_MATCH_EXACT, .text = {"a.example", 9}}};
    struct tls_san_match prefix = {TLS_SAN_DNS, {.kind = STR_MATCH_PREFIX, .text = {"a.ex", 4}}};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        struct cert c = make((struct cert_order){.raw_dns = names[i]}, &ca);
        struct tls_spec server = server_spec();
        server.sans = &san;
        assert_false(gets_in(server, client_spec(&c, NULL)));
        server.sans = &prefix;
        assert_false(gets_in(server, client_spec(&c, NULL)));
        cert_free(&c);
    }
}

static void hashes_pin_a_certificate_or_its_key(void **state)
{
    (void)state;
    struct cert c = make((struct cert_order){.sans = good_uri}, &ca), other = make((struct cert_order){.sans = good_uri}, &ca);
    struct tls_digest whole, key;
    unsigned char *der = NULL;
    assert_int_equal(X509_digest(c.x, EVP_sha256(), whole.bytes, NULL), 1);
    int n = i2d_PUBKEY(c.key, &der);
    assert_int_equal(EVP_Digest(der, (size_t)n, key.bytes, NULL, EVP_sha256(), NULL), 1);
    OPENSSL_free(der);
    struct tls_spec by_whole = server_spec(), by_key = server_spec();
    by_whole.certificate_hashes = &whole;
    by_key.key_hashes = &key;
    by_whole.certificate_hash_count = by_key.key_hash_count = 1;
    assert_true(gets_in(by_whole, client_spec(&c, NULL)));
    assert_true(gets_in(by_key, client_spec(&c, NULL)));
    assert_false(gets_in(by_whole, client_spec(&other, NULL)));
    assert_false(gets_in(by_key, client_spec(&other, NULL)));
    assert_int_equal(world_server_stat(TLS_STAT_FAIL_VERIFY_CERT_HASH), 2);
    cert_free(&c);
    cert_free(&other);
}

static void rules_can_be_relaxed_one_by_one(void **state)
{
    (void)state;
    struct cert expired = make((struct cert_order){.sans = good_uri, .start_days = -9, .end_days = -1}, &ca);
    struct cert stranger = make((struct cert_order){.sans = good_uri}, &other_ca);
    struct tls_spec aged = server_spec(), open = server_spec();
    aged.allow_expired = true;
    open.accept_untrusted = true;
    assert_true(gets_in(aged, client_spec(&expired, NULL)));
    assert_false(gets_in(aged, client_spec(&stranger, NULL)));
    assert_true(gets_in(open, client_spec(&stranger, NULL)));
    cert_free(&expired);
    cert_free(&stranger);
}

static void a_certificate_may_be_missing_only_where_nothing_needs_it(void **state)
{
    (void)state;
    struct tls_spec client = {.side = TLS_UPSTREAM, .trusted_ca = ca.pem};
    struct tls_spec server = server_spec();
    assert_false(gets_in(server, client));
    assert_int_equal(world_server_stat(TLS_STAT_FAIL_VERIFY_NO_CERT), 1);
    server.require_certificate = false; /* but a name must fit */
    assert_false(gets_in(server, client));
    server.san_count = 0;
    assert_true(gets_in(server, client));
    assert_int_equal(world_server_stat(TLS_STAT_NO_CERTIFICATE), 1);
}

static void the_server_must_be_who_was_asked_for(void **state)
{
    (void)state;
    struct tls_spec server = {.side = TLS_DOWNSTREAM, .pairs = &server_pair, .pair_count = 1};
    struct tls_spec client = {.side = TLS_UPSTREAM, .trusted_ca = ca.pem};
    world.verify_sni = true;
    static const struct {
        const char *name;
        bool fits;
    } cases[] = {{"a.example", true}, {"x.wild.example", true}, {"b.example", false}, {"x.y.wild.example", false}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        world.sni = str_of(cases[i].name);
        assert_int_equal(gets_in(server, client), cases[i].fits);
    }
    assert_int_equal(world_client_stat(TLS_STAT_FAIL_VERIFY_SAN), 2);
}

static void a_failure_names_what_was_found(void **state)
{
    (void)state;
    struct tls_spec client = {.side = TLS_UPSTREAM, .trusted_ca = ca.pem, .sans = &good_san, .san_count = 1};
    world.server_ctx = world_ctx((struct tls_spec){.side = TLS_DOWNSTREAM, .pairs = &server_pair, .pair_count = 1});
    world.client_ctx = world_ctx(client);
    world_connect(NULL);
    assert_non_null(strstr(world.pair.client.failure, "OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN matcher"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(bad_certificates_are_refused_and_counted),
        CASE(good_certificates_get_in),
        CASE(names_match_in_every_kind),
        CASE(a_name_with_a_nul_is_no_name),
        CASE(hashes_pin_a_certificate_or_its_key),
        CASE(rules_can_be_relaxed_one_by_one),
        CASE(a_certificate_may_be_missing_only_where_nothing_needs_it),
        CASE(the_server_must_be_who_was_asked_for),
        CASE(a_failure_names_what_was_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
