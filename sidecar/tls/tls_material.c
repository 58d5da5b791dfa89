/* Owns parsed certificates, keys, authorities and lists of revocation, on main until it is counted out.
 *
 * Everything that can be wrong with what an operator gave is found here, before a worker sees it. As in Envoy, RSA keys
 * below 2048 bits and elliptic curves but P-256, P-384 and P-521 are refused. */
#include "sidecar/base/buf.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/tls/tls_priv.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *tls_reason(char *text, size_t cap)
{
    unsigned long code = ERR_get_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    if (code == 0)
        snprintf(text, cap, "no error of OpenSSL's");
    else if (reason)
        snprintf(text, cap, "%s", reason);
    else
        snprintf(text, cap, "error %08lx", code);
    ERR_clear_error();
    return text;
}

/* ---- PEM. ---- */

static BIO *reader(struct str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    if (!bio)
        die("out of memory");
    return bio;
}

/* The end of a PEM text is an error of its own, and no fault. */
static bool is_at_end(void)
{
    unsigned long code = ERR_peek_last_error();
    bool end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    if (end)
        ERR_clear_error();
    return end;
}

static STACK_OF(X509) *read_certificates(struct str pem, const char *field, struct err *err)
{
    char why[120];
    STACK_OF(X509) *all = sk_X509_new_null();
    BIO *bio = reader(pem);
    X509 *x;
    ERR_clear_error();
    while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        if (!sk_X509_push(all, x))
            die("out of memory");
    BIO_free(bio);
    bool ok = (is_at_end() || err_set(err, "%s: a certificate in it cannot be read: %s", field, tls_reason(why, sizeof(why)))) &&
              (sk_X509_num(all) > 0 || err_set(err, "%s: holds no certificate in PEM form", field));
    if (ok)
        return all;
    sk_X509_pop_free(all, X509_free);
    return NULL;
}

static int give_password(char *to, int cap, int for_writing, void *ctx)
{
    const struct str *password = ctx;
    (void)for_writing;
    if (password->n > (size_t)cap)
        return -1;
    memcpy(to, password->p ? password->p : "", password->n);
    return (int)password->n;
}

/* ---- Identities. ---- */

static bool check_key(EVP_PKEY *key, struct err *err)
{
    char curve[32] = "";
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        return EVP_PKEY_get_bits(key) >= 2048 ||
               err_set(err, "certificate_chain: RSA certificates need keys of 2048 bits or more, got %d", EVP_PKEY_get_bits(key));
    case EVP_PKEY_EC:
        EVP_PKEY_get_utf8_string_param(key, "group", curve, sizeof(curve), NULL);
        return strcmp(curve, "prime256v1") == 0 || strcmp(curve, "secp384r1") == 0 || strcmp(curve, "secp521r1") == 0 ||
               err_set(err, "certificate_chain: ECDSA certificates need curve P-256, P-384 or P-521, got %s", curve);
    default:
        return err_set(err, "certificate_chain: RSA and ECDSA certificates are supported, got %s", EVP_PKEY_get0_type_name(key));
    }
}

static bool read_identity(const struct tls_pair *from, struct identity *to, struct err *err)
{
    char why[120];
    struct str password = from->password;
    to->chain = read_certificates(from->chain, "certificate_chain", err);
    if (!to->chain)
        return false;
    to->leaf = sk_X509_shift(to->chain);
    if (sk_X509_num(to->chain) == 0) {
        sk_X509_free(to->chain); /* each connection would copy it */
        to->chain = NULL;
    }
    BIO *bio = reader(from->key);
    /* The thread's default may be the library of handshakes, which reads no private keys. */
    to->key = PEM_read_bio_PrivateKey_ex(bio, NULL, give_password, &password, OSSL_LIB_CTX_get0_global_default(), NULL);
    BIO_free(bio);
    if (!to->key)
        return err_set(err, "private_key: cannot be read: %s%s", tls_reason(why, sizeof(why)),
                       password.n > 0 ? "; is the password right?" : "");
    if (X509_check_private_key(to->leaf, to->key) != 1)
        return err_set(err, "private_key: does not belong to the first certificate of certificate_chain (%s)",
                       tls_reason(why, sizeof(why)));
    return check_key(to->key, err);
}

/* As in Envoy, the common name counts where there are no alternative ones. */
static void read_names(struct identity *id, struct arena *a)
{
    char common[256];
    struct str all = tls_san_list(id->leaf, TLS_SAN_DNS, a), name;
    if (all.n == 0) {
        int n = X509_NAME_get_text_by_NID(X509_get_subject_name(id->leaf), NID_commonName, common, sizeof(common));
        all = arena_str(a, n > 0 ? str_n(common, (size_t)n) : STR_NONE);
    }
    id->names = ARENA_ARRAY(a, struct str, all.n / 2 + 1);
    while (str_next(&all, ',', &name))
        id->names[id->name_count++] = name;
}

static bool read_identities(struct tls_material *m, struct err *err)
{
    m->identities = ARENA_ARRAY(m->arena, struct identity, m->spec.pair_count);
    for (unsigned i = 0; i < m->spec.pair_count; i++) {
        if (!read_identity(&m->spec.pairs[i], &m->identities[i], err))
            return err_prefix(err, "tls_certificates[%u]", i);
        read_names(&m->identities[i], m->arena);
    }
    return true;
}

/* ---- Authorities. ---- */

static bool read_crls(struct tls_material *m, struct err *err)
{
    char why[120];
    unsigned count = 0;
    if (m->spec.crl.n == 0)
        return true;
    BIO *bio = reader(m->spec.crl);
    X509_CRL *crl;
    ERR_clear_error();
    while ((crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL))) {
        X509_STORE_add_crl(m->store, crl);
        X509_CRL_free(crl);
        count++;
    }
    BIO_free(bio);
    X509_STORE_set_flags(m->store, X509_V_FLAG_CRL_CHECK | (m->spec.only_leaf_crl ? 0 : X509_V_FLAG_CRL_CHECK_ALL));
    return (is_at_end() || err_set(err, "crl: a list in it cannot be read: %s", tls_reason(why, sizeof(why)))) &&
           (count > 0 || err_set(err, "crl: holds no list of revocation in PEM form"));
}

static bool read_authorities(struct tls_material *m, struct err *err)
{
    const struct tls_spec *s = &m->spec;
    if (s->trusted_ca.n == 0) {
        if (s->san_count > 0)
            return err_set(err, "SAN-based verification of peer certificates without trusted CA is insecure and not allowed; give "
                                "trusted_ca");
        return s->crl.n == 0 || err_set(err, "crl: belongs to a trusted_ca");
    }
    m->authorities = read_certificates(s->trusted_ca, "trusted_ca", err);
    m->store = X509_STORE_new();
    if (!m->store)
        die("out of memory");
    for (int i = 0; m->authorities && i < sk_X509_num(m->authorities); i++)
        X509_STORE_add_cert(m->store, sk_X509_value(m->authorities, i));
    /* As in Envoy, an authority that is not self-signed may be trusted by itself. */
    X509_STORE_set_flags(m->store, X509_V_FLAG_PARTIAL_CHAIN);
    return m->authorities && read_crls(m, err);
}

/* ---- Sessions. ---- */

static void add_str(struct buf *b, struct str s)
{
    uint64_t n = s.n;
    buf_append(b, &n, sizeof(n));
    buf_append_str(b, s);
}

static void add_rules(struct buf *b, const struct tls_spec *s)
{
    for (unsigned i = 0; i < s->san_count; i++) {
        const struct str_match *match = &s->sans[i].match;
        uint32_t kind[] = {s->sans[i].type, match->kind, match->ignore_case};
        buf_append(b, kind, sizeof(kind));
        add_str(b, match->kind == STR_MATCH_REGEX ? regex_pattern(match->regex) : match->text);
    }
    buf_append(b, s->certificate_hashes, sizeof(struct tls_digest) * s->certificate_hash_count);
    buf_append(b, s->key_hashes, sizeof(struct tls_digest) * s->key_hash_count);
    uint32_t rest[] = {s->san_count,     s->certificate_hash_count, s->key_hash_count,     s->only_leaf_crl,
                       s->allow_expired, s->accept_untrusted,       s->require_certificate};
    buf_append(b, rest, sizeof(rest));
}

/* A session is resumed only where the same rules would let its peer in: they are part of its context. */
static void hash_rules(struct tls_material *m)
{
    const struct tls_spec *s = &m->spec;
    struct buf b = {0};
    for (unsigned i = 0; i < s->pair_count; i++)
        add_str(&b, s->pairs[i].chain);
    add_str(&b, s->trusted_ca);
    add_str(&b, s->crl);
    for (unsigned i = 0; i < s->alpn_count; i++)
        add_str(&b, s->alpn[i]);
    add_rules(&b, s);
    if (EVP_Digest(buf_head(&b), buf_len(&b), m->session_context, NULL, EVP_sha256(), NULL) != 1)
        die("no SHA-256");
    buf_fini(&b);
}

/* ---- Life. ---- */

static void free_material(struct shared *shared)
{
    struct tls_material *m = CONTAINER_OF(shared, struct tls_material, shared);
    for (unsigned i = 0; m->identities && i < m->spec.pair_count; i++) {
        X509_free(m->identities[i].leaf);
        sk_X509_pop_free(m->identities[i].chain, X509_free);
        EVP_PKEY_free(m->identities[i].key);
    }
    X509_STORE_free(m->store);
    sk_X509_pop_free(m->authorities, X509_free);
    for (unsigned i = 0; i < m->spec.san_count; i++)
        regex_free(&m->spec.sans[i].match.regex);
    tls_tickets_fini(&m->tickets);
    tls_sessions_fini(&m->sessions);
    struct arena *arena = m->arena;
    arena_free(&arena);
}

static bool check_spec(const struct tls_spec *s, struct err *err)
{
    for (unsigned i = 0; i < s->alpn_count; i++)
        if (s->alpn[i].n == 0 || s->alpn[i].n > 255)
            return err_set(err, "alpn_protocols[%u]: 1 to 255 bytes, got %zu", i, s->alpn[i].n);
    if (s->side == TLS_DOWNSTREAM && s->pair_count == 0)
        return err_set(err, "no TLS certificates found for server context; give tls_certificates");
    if (s->side == TLS_UPSTREAM && s->pair_count > 1)
        return err_set(err, "tls_certificates: a client has one, got %u", s->pair_count);
    return s->min == TLS_VERSION_DEFAULT || s->max == TLS_VERSION_DEFAULT || s->min <= s->max ||
           err_set(err, "tls_params: tls_minimum_protocol_version is above tls_maximum_protocol_version");
}

struct tls_material *tls_material_new(const struct tls_spec *spec, struct arena *arena, struct err *err)
{
    struct tls_material *m = ARENA_NEW(arena, struct tls_material);
    shared_init(&m->shared, free_material);
    m->arena = arena;
    m->spec = *spec;
    if (check_spec(spec, err) && read_identities(m, err) && read_authorities(m, err) && tls_ctx_check(m, err)) {
        if (spec->side == TLS_DOWNSTREAM) {
            tls_sessions_init(&m->sessions);
            tls_tickets_init(&m->tickets, spec, arena, clock_mono_ns() / 1000000000);
        }
        hash_rules(m);
        return m;
    }
    tls_material_unref(&m);
    return NULL;
}

struct tls_material *tls_material_ref(struct tls_material *m)
{
    shared_ref(&m->shared);
    return m;
}

void tls_material_unref(struct tls_material **m)
{
    struct tls_material *was = *m;
    *m = NULL;
    if (was)
        shared_unref(&was->shared);
}

bool tls_material_is_same(const struct tls_material *a, const struct tls_material *b)
{
    if (memcmp(a->session_context, b->session_context, sizeof(a->session_context)) != 0 ||
        a->spec.pair_count != b->spec.pair_count)
        return false;
    for (unsigned i = 0; i < a->spec.pair_count; i++)
        if (!str_eq(a->spec.pairs[i].key, b->spec.pairs[i].key))
            return false;
    return true;
}

const struct tls_spec *tls_material_spec(const struct tls_material *m)
{
    return &m->spec;
}

/* ---- What operators ask. ---- */

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm tm;
    return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static const X509 *certificate_at(const struct tls_material *m, unsigned at)
{
    unsigned authorities = m->authorities ? (unsigned)sk_X509_num(m->authorities) : 0;
    return at < authorities ? sk_X509_value(m->authorities, (int)at) : m->identities[at - authorities].leaf;
}

unsigned tls_material_certificate_count(const struct tls_material *m)
{
    return (m->authorities ? (unsigned)sk_X509_num(m->authorities) : 0) + m->spec.pair_count;
}

struct str tls_serial(const X509 *x, struct arena *a)
{
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    char *hex = n ? BN_bn2hex(n) : NULL;
    struct str s = hex ? arena_str(a, str_of(hex)) : STR_NONE;
    ascii_lower_n((char *)(uintptr_t)s.p, s.n);
    OPENSSL_free(hex);
    BN_free(n);
    return s;
}

void tls_material_certificate(const struct tls_material *m, unsigned at, struct arena *a,
                              struct tls_certificate_facts *facts_r)
{
    const X509 *x = certificate_at(m, at);
    facts_r->is_authority = m->authorities && at < (unsigned)sk_X509_num(m->authorities);
    facts_r->serial = tls_serial(x, a);
    facts_r->not_before_s = seconds_of(X509_get0_notBefore(x));
    facts_r->not_after_s = seconds_of(X509_get0_notAfter(x));
    facts_r->uris = tls_san_list(x, TLS_SAN_URI, a);
    facts_r->names = tls_san_list(x, TLS_SAN_DNS, a);
}
