/* Envoy's DownstreamTlsContext and UpstreamTlsContext, and the secrets that they name, read and turned into material. Main
 * thread.
 *
 * A context is kept as its packed message, so that it can be read anew when a file changes: what the message says is checked
 * once, what files say each time. A context of which a file is not good yet is accepted, without material, as in Envoy; a file
 * that does not exist is refused. */
#include "sidecar/config/build_tls.h"

#include "sidecar/base/file.h"
#include "sidecar/base/log.h"
#include "sidecar/config/build_value.h"
#include "sidecar/config/supported.h"

#include "proto/base64.h"
#include "proto/discovery.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TLS(x) Envoy__Extensions__TransportSockets__Tls__V3__##x
#define TLS_CASE(x) ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__##x
#define DOWNSTREAM_DESCRIPTOR envoy__extensions__transport_sockets__tls__v3__downstream_tls_context__descriptor
#define UPSTREAM_DESCRIPTOR envoy__extensions__transport_sockets__tls__v3__upstream_tls_context__descriptor
#define SECRET_DESCRIPTOR envoy__extensions__transport_sockets__tls__v3__secret__descriptor
#define SOURCE(x) ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_##x
#define DATA(x) ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_##x

#define FILE_MAX_BYTES (1u << 20)

struct reader {
    struct secrets *secrets;
    struct arena *arena;   /* the material's */
    struct arena *scratch;
    struct tls_spec spec;
    struct regex_pool regexes;
    struct regex **regex_list;
    unsigned regex_count;
    struct buf *paths;     /* of secrets that come by file */
    bool in_file;          /* what is read now came by file: its faults may be mended there */
    bool wants_control_plane;
};

/* ---- Bytes. ---- */

static bool read_file(struct reader *r, const char *path, struct str *out, struct err *err)
{
    struct buf text = {0};
    int rc = file_read(path, FILE_MAX_BYTES, &text);
    if (rc == 0)
        *out = arena_str(r->arena, buf_str(&text));
    buf_fini(&text);
    if (rc == -EFBIG)
        return err_set(err, "%s: larger than %u bytes", path, FILE_MAX_BYTES);
    return rc == 0 || err_set(err, "%s: cannot be read: %s", path, strerror(-rc));
}

static void note_path(struct reader *r, const char *path)
{
    buf_append(r->paths, path, strlen(path) + 1);
}

static bool read_source(struct reader *r, const Envoy__Config__Core__V3__DataSource *m, const char *field, struct str *out,
                        struct err *err)
{
    const char *value;
    *out = STR_NONE;
    switch (m ? m->specifier_case : ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER__NOT_SET) {
    case DATA(FILENAME):
        if (r->in_file || m->watched_directory)
            note_path(r, m->filename);
        return read_file(r, m->filename, out, err) || err_prefix(err, "%s.filename", field);
    case DATA(INLINE_BYTES):
        *out = arena_str(r->arena, str_n((const char *)m->inline_bytes.data, m->inline_bytes.len));
        return true;
    case DATA(INLINE_STRING):
        *out = arena_str(r->arena, str_of(m->inline_string));
        return true;
    case DATA(ENVIRONMENT_VARIABLE):
        value = getenv(m->environment_variable);
        *out = arena_str(r->arena, str_of(value));
        return value || err_set(err, "%s.environment_variable: \"%s\" is not set", field, m->environment_variable);
    default:
        return err_set(err, "%s: filename, inline_string, inline_bytes or environment_variable is required", field);
    }
}

static bool read_optional(struct reader *r, const Envoy__Config__Core__V3__DataSource *m, const char *field, struct str *out,
                          struct err *err)
{
    *out = STR_NONE;
    return !m || read_source(r, m, field, out, err);
}

/* ---- Secrets. ---- */

static ProtobufCMessage *parse_response(struct reader *r, const char *path, struct str text, struct err *err)
{
    const ProtobufCMessageDescriptor *d = &envoy__service__discovery__v3__discovery_response__descriptor;
    if (str_has_suffix(str_of(path), STR(".pb")))
        return codec_unpack(d, text.p, text.n, r->scratch, err);
    const struct codec_text_options options = {CODEC_STRICT, DURATIONS_PROTOBUF};
    struct findings findings;
    struct node **docs;
    findings_init(&findings, r->scratch);
    unsigned count = node_parse(text, path, r->scratch, &findings, &docs);
    ProtobufCMessage *m =
        findings.errors == 0 && count == 1 ? codec_from_node(d, docs[0], "", &options, r->scratch, &findings) : NULL;
    if (findings.errors > 0)
        err_set(err, "%s:%u:%u: %.*s: %.*s", path, findings.v[0].line, findings.v[0].column, STR_FMT(findings.v[0].path),
                STR_FMT(findings.v[0].message));
    else if (!m)
        err_set(err, "%s: one document is needed, got %u", path, count);
    return m;
}

static const TLS(Secret) *secret_in(struct reader *r, const Envoy__Service__Discovery__V3__DiscoveryResponse *m,
                                    const char *name, const char *path, struct err *err)
{
    for (size_t i = 0; i < m->n_resources; i++) {
        const TLS(Secret) *s = (const void *)build_any(m->resources[i], &SECRET_DESCRIPTOR, r->scratch, err);
        if (!s) {
            err_prefix(err, "%s: resources[%zu]", path, i);
            return NULL;
        }
        if (strcmp(s->name, name) == 0)
            return s;
    }
    err_set(err, "%s: holds no secret called \"%s\"", path, name);
    return NULL;
}

/* The file that a SdsSecretConfig points to; NULL with err where it points elsewhere. */
static const char *path_of(struct reader *r, const Envoy__Config__Core__V3__ConfigSource *c, struct err *err)
{
    if (c->config_source_specifier_case == SOURCE(PATH))
        return c->path;
    if (c->config_source_specifier_case == SOURCE(PATH_CONFIG_SOURCE)) {
        if (c->path_config_source->watched_directory)
            note_path(r, c->path_config_source->watched_directory->path);
        return c->path_config_source->path;
    }
    r->wants_control_plane = true;
    err_set(err, "sds_config: only path_config_source is supported; secrets of a control plane are not built yet");
    return NULL;
}

static const TLS(Secret) *find_secret(struct reader *r, const TLS(SdsSecretConfig) *m, struct err *err)
{
    if (!m->sds_config) {
        const TLS(Secret) *s = secrets_find(r->secrets, m->name);
        if (!s)
            err_set(err, "name: no secret of static_resources is called \"%s\"; give sds_config, or the secret", m->name);
        return s;
    }
    const char *path = path_of(r, m->sds_config, err);
    struct str text;
    if (!path || access(path, F_OK) != 0) {
        if (path)
            err_set(err, "sds_config: paths must refer to an existing path in the system: '%s' does not exist", path);
        return NULL;
    }
    r->in_file = true;
    note_path(r, path);
    if (!read_file(r, path, &text, err))
        return NULL;
    const void *response = parse_response(r, path, text, err);
    return response ? secret_in(r, response, m->name, path, err) : NULL;
}

static bool want_kind(const TLS(Secret) *s, unsigned kind, const char *what, struct err *err)
{
    return s->type_case == kind || err_set(err, "secret \"%s\": is no %s", s->name, what);
}

/* ---- Certificates. ---- */

static bool read_pair(struct reader *r, const TLS(TlsCertificate) *m, struct tls_pair *to, struct err *err)
{
    if (m->watched_directory && r->in_file)
        note_path(r, m->watched_directory->path);
    return read_source(r, m->certificate_chain, "certificate_chain", &to->chain, err) &&
           read_source(r, m->private_key, "private_key", &to->key, err) &&
           read_optional(r, m->password, "password", &to->password, err);
}

static bool read_pairs(struct reader *r, const TLS(CommonTlsContext) *m, struct err *err)
{
    size_t inline_count = m->n_tls_certificates, sds_count = m->n_tls_certificate_sds_secret_configs;
    if (inline_count > 0 && sds_count > 0)
        return err_set(err, "tls_certificates and tls_certificate_sds_secret_configs: one of them may be given");
    r->spec.pairs = ARENA_ARRAY(r->arena, struct tls_pair, inline_count + sds_count);
    r->spec.pair_count = (unsigned)(inline_count + sds_count);
    for (size_t i = 0; i < inline_count; i++)
        if (!read_pair(r, m->tls_certificates[i], &r->spec.pairs[i], err))
            return err_prefix(err, "tls_certificates[%zu]", i);
    for (size_t i = 0; i < sds_count; i++) {
        const TLS(Secret) *s = find_secret(r, m->tls_certificate_sds_secret_configs[i], err);
        if (!s || !want_kind(s, TLS_CASE(SECRET__TYPE_TLS_CERTIFICATE), "tls_certificate", err) ||
            !read_pair(r, s->tls_certificate, &r->spec.pairs[i], err))
            return err_prefix(err, "tls_certificate_sds_secret_configs[%zu]", i);
        r->in_file = false;
    }
    return true;
}

/* ---- The judgement of peers. ---- */

static bool read_san(struct reader *r, const TLS(SubjectAltNameMatcher) *m, struct err *err)
{
    static const int types[] = {[TLS_CASE(SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__EMAIL)] = TLS_SAN_EMAIL,
                                [TLS_CASE(SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__DNS)] = TLS_SAN_DNS,
                                [TLS_CASE(SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__URI)] = TLS_SAN_URI,
                                [TLS_CASE(SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__IP_ADDRESS)] = TLS_SAN_IP};
    if (m->san_type < TLS_CASE(SUBJECT_ALT_NAME_MATCHER__SAN_TYPE__EMAIL) || (unsigned)m->san_type >= ARRAY_LEN(types))
        return err_set(err, "san_type: EMAIL, DNS, URI and IP_ADDRESS are supported, got %d", (int)m->san_type);
    struct tls_san_match *to = &r->spec.sans[r->spec.san_count];
    to->type = (enum tls_san_type)types[m->san_type];
    if (!m->matcher)
        return err_set(err, "matcher: is required");
    if (!build_string_match(m->matcher, r->arena, &r->regexes, &to->match, err))
        return err_prefix(err, "matcher");
    r->spec.san_count++;
    return true;
}

/* The older field: a name of any kind. */
static bool read_untyped_san(struct reader *r, const Envoy__Type__Matcher__V3__StringMatcher *m, struct err *err)
{
    for (int type = TLS_SAN_EMAIL; type <= TLS_SAN_IP; type++) {
        struct tls_san_match *to = &r->spec.sans[r->spec.san_count];
        to->type = (enum tls_san_type)type;
        if (!build_string_match(m, r->arena, &r->regexes, &to->match, err))
            return false;
        r->spec.san_count++;
    }
    return true;
}

static bool read_sans(struct reader *r, const TLS(CertificateValidationContext) *m, struct err *err)
{
    size_t before = r->spec.san_count, room = before + m->n_match_typed_subject_alt_names + 4 * m->n_match_subject_alt_names;
    struct tls_san_match *old = r->spec.sans;
    r->spec.sans = ARENA_ARRAY(r->arena, struct tls_san_match, room);
    if (before > 0)
        memcpy(r->spec.sans, old, sizeof(*old) * before);
    for (size_t i = 0; i < m->n_match_typed_subject_alt_names; i++)
        if (!read_san(r, m->match_typed_subject_alt_names[i], err))
            return err_prefix(err, "match_typed_subject_alt_names[%zu]", i);
    for (size_t i = 0; i < m->n_match_subject_alt_names; i++)
        if (!read_untyped_san(r, m->match_subject_alt_names[i], err))
            return err_prefix(err, "match_subject_alt_names[%zu]", i);
    return true;
}

/* 64 hex digits, or with a colon between each two. */
static bool read_hex(const char *text, struct tls_digest *to)
{
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if (*p == ':' && (p - text) % 3 == 2)
            continue;
        int digit = ascii_hex(*p);
        if (n == 2 * TLS_DIGEST_BYTES || digit < 0)
            return false;
        to->bytes[n / 2] = (uint8_t)(to->bytes[n / 2] << 4 | digit);
        n++;
    }
    return n == 2 * TLS_DIGEST_BYTES;
}

static bool read_hashes(struct reader *r, const TLS(CertificateValidationContext) *m, struct err *err)
{
    struct tls_spec *s = &r->spec;
    if (m->n_verify_certificate_hash > 0) {
        s->certificate_hash_count = (unsigned)m->n_verify_certificate_hash;
        s->certificate_hashes = ARENA_ARRAY(r->arena, struct tls_digest, s->certificate_hash_count);
    }
    for (size_t i = 0; i < m->n_verify_certificate_hash; i++)
        if (!read_hex(m->verify_certificate_hash[i], &s->certificate_hashes[i]))
            return err_set(err, "verify_certificate_hash[%zu]: SHA-256 as 64 hex digits, got \"%s\"", i,
                           m->verify_certificate_hash[i]);
    if (m->n_verify_certificate_spki > 0) {
        s->key_hash_count = (unsigned)m->n_verify_certificate_spki;
        s->key_hashes = ARENA_ARRAY(r->arena, struct tls_digest, s->key_hash_count);
    }
    for (size_t i = 0; i < m->n_verify_certificate_spki; i++) {
        uint8_t *data;
        size_t n;
        if (!base64_read(str_of(m->verify_certificate_spki[i]), r->scratch, &data, &n) || n != TLS_DIGEST_BYTES)
            return err_set(err, "verify_certificate_spki[%zu]: SHA-256 in base64, got \"%s\"", i,
                           m->verify_certificate_spki[i]);
        memcpy(s->key_hashes[i].bytes, data, n);
    }
    return true;
}

/* One after the other where two are combined: what the second gives is added, or replaces. */
static bool read_validation(struct reader *r, const TLS(CertificateValidationContext) *m, struct err *err)
{
    struct tls_spec *s = &r->spec;
    if (!m)
        return true;
    if (m->watched_directory && r->in_file)
        note_path(r, m->watched_directory->path);
    if (m->trusted_ca && !read_source(r, m->trusted_ca, "trusted_ca", &s->trusted_ca, err))
        return false;
    if (m->crl && !read_source(r, m->crl, "crl", &s->crl, err))
        return false;
    s->only_leaf_crl |= m->only_verify_leaf_cert_crl;
    s->allow_expired |= m->allow_expired_certificate;
    s->accept_untrusted |= m->trust_chain_verification == TLS_CASE(CERTIFICATE_VALIDATION_CONTEXT__TRUST_CHAIN_VERIFICATION__ACCEPT_UNTRUSTED);
    return read_sans(r, m, err) && read_hashes(r, m, err);
}

static bool read_validation_secret(struct reader *r, const TLS(SdsSecretConfig) *m, struct err *err)
{
    const TLS(Secret) *s = find_secret(r, m, err);
    bool ok = s && want_kind(s, TLS_CASE(SECRET__TYPE_VALIDATION_CONTEXT), "validation_context", err) &&
              read_validation(r, s->validation_context, err);
    if (!ok)
        return err_prefix(err, "validation_context_sds_secret_config");
    r->in_file = false;
    return true;
}

static bool read_judgement(struct reader *r, const TLS(CommonTlsContext) *m, struct err *err)
{
    switch (m->validation_context_type_case) {
    case TLS_CASE(COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT):
        return read_validation(r, m->validation_context, err) || err_prefix(err, "validation_context");
    case TLS_CASE(COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT_SDS_SECRET_CONFIG):
        return read_validation_secret(r, m->validation_context_sds_secret_config, err);
    case TLS_CASE(COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_COMBINED_VALIDATION_CONTEXT):
        return (read_validation(r, m->combined_validation_context->default_validation_context, err) &&
                (!m->combined_validation_context->validation_context_sds_secret_config ||
                 read_validation_secret(r, m->combined_validation_context->validation_context_sds_secret_config, err))) ||
               err_prefix(err, "combined_validation_context");
    default:
        return true;
    }
}

/* ---- Parameters. ---- */

static struct str join(struct reader *r, char **v, size_t count)
{
    struct buf b = {0};
    for (size_t i = 0; i < count; i++)
        buf_printf(&b, "%s%s", i > 0 ? ":" : "", v[i]);
    struct str s = arena_str(r->arena, buf_str(&b));
    buf_fini(&b);
    return s;
}

/* BoringSSL's groups of equal preference, "[A|B]", are a list to OpenSSL. */
static struct str join_ciphers(struct reader *r, char **v, size_t count)
{
    struct str s = join(r, v, count);
    char *to = arena_strdup(r->arena, s.p), *end = to;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '[' && s.p[i] != ']')
            *end++ = s.p[i] == '|' ? ':' : s.p[i];
    if (to)
        *end = '\0';
    return str_of(to);
}

static bool read_version(int from, enum tls_version *to, const char *field, struct err *err)
{
    *to = (enum tls_version)from; /* the same order, from TLS_AUTO on */
    return (unsigned)from <= TLS_VERSION_1_3 || err_set(err, "tls_params.%s: unknown, got %d", field, from);
}

static bool read_parameters(struct reader *r, const TLS(CommonTlsContext) *m, struct err *err)
{
    const TLS(TlsParameters) *p = m->tls_params;
    struct tls_spec *s = &r->spec;
    s->alpn_count = (unsigned)m->n_alpn_protocols;
    s->alpn = ARENA_ARRAY(r->arena, struct str, s->alpn_count);
    for (unsigned i = 0; i < s->alpn_count; i++)
        s->alpn[i] = arena_str(r->arena, str_of(m->alpn_protocols[i]));
    if (!p)
        return true;
    s->ciphers = join_ciphers(r, p->cipher_suites, p->n_cipher_suites);
    s->curves = join(r, p->ecdh_curves, p->n_ecdh_curves);
    s->signature_algorithms = join(r, p->signature_algorithms, p->n_signature_algorithms);
    return read_version((int)p->tls_minimum_protocol_version, &s->min, "tls_minimum_protocol_version", err) &&
           read_version((int)p->tls_maximum_protocol_version, &s->max, "tls_maximum_protocol_version", err);
}

static bool read_common(struct reader *r, const TLS(CommonTlsContext) *m, struct err *err)
{
    return !m || ((read_parameters(r, m, err) && read_pairs(r, m, err) && read_judgement(r, m, err)) ||
                  err_prefix(err, "common_tls_context"));
}

static bool read_ticket_keys(struct reader *r, const TLS(TlsSessionTicketKeys) *m, struct err *err)
{
    uint8_t(*keys)[TLS_TICKET_KEY_BYTES] = arena_zalloc(r->arena, sizeof(*keys) * (m->n_keys + 1));
    for (size_t i = 0; i < m->n_keys; i++) {
        struct str key;
        if (!read_source(r, m->keys[i], "key", &key, err))
            return err_prefix(err, "session_ticket_keys.keys[%zu]", i);
        if (key.n != TLS_TICKET_KEY_BYTES)
            return err_set(err, "session_ticket_keys.keys[%zu]: incorrect TLS session ticket key length, %zu; 80 bytes are needed",
                           i, key.n);
        memcpy(keys[i], key.p, key.n);
    }
    r->spec.ticket_keys = (const uint8_t(*)[TLS_TICKET_KEY_BYTES])keys;
    r->spec.ticket_key_count = (unsigned)m->n_keys;
    return m->n_keys > 0 || err_set(err, "session_ticket_keys.keys: at least one is required");
}

static bool read_downstream(struct reader *r, const TLS(DownstreamTlsContext) *m, struct err *err)
{
    struct tls_spec *s = &r->spec;
    if (value_bool(m->require_sni, false))
        return err_set(err, "require_sni: Envoy reads it and does nothing; match server_names in filter_chain_match instead");
    if (m->ocsp_staple_policy != TLS_CASE(DOWNSTREAM_TLS_CONTEXT__OCSP_STAPLE_POLICY__LENIENT_STAPLING))
        return err_set(err, "ocsp_staple_policy: only LENIENT_STAPLING is supported");
    s->require_certificate = value_bool(m->require_client_certificate, false);
    uint64_t timeout_ms = codec_duration_ms(m->session_timeout, 0);
    s->session_timeout_s = timeout_ms / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(timeout_ms / 1000);
    s->no_tickets = m->session_ticket_keys_type_case ==
                        TLS_CASE(DOWNSTREAM_TLS_CONTEXT__SESSION_TICKET_KEYS_TYPE_DISABLE_STATELESS_SESSION_RESUMPTION) &&
                    m->disable_stateless_session_resumption;
    s->no_session_ids = m->disable_stateful_session_resumption;
    if (m->session_ticket_keys_type_case == TLS_CASE(DOWNSTREAM_TLS_CONTEXT__SESSION_TICKET_KEYS_TYPE_SESSION_TICKET_KEYS) &&
        !read_ticket_keys(r, m->session_ticket_keys, err))
        return false;
    return read_common(r, m->common_tls_context, err);
}

static bool read_upstream(struct reader *r, const TLS(UpstreamTlsContext) *m, struct err *err)
{
    if (m->allow_renegotiation)
        return err_set(err, "allow_renegotiation: is not supported, since peers misuse it");
    if (strlen(m->sni) > 255)
        return err_set(err, "sni: at most 255 bytes, got %zu", strlen(m->sni));
    r->spec.sni = arena_str(r->arena, str_of(m->sni));
    r->spec.max_sessions = value_u32(m->max_session_keys, 1);
    if (r->spec.max_sessions > 1024)
        return err_set(err, "max_session_keys: at most 1024, got %u", r->spec.max_sessions);
    return read_common(r, m->common_tls_context, err);
}

/* ---- Material. ---- */

static void reader_init(struct reader *r, enum tls_side side, struct secrets *secrets, struct buf *paths)
{
    *r = (struct reader){.secrets = secrets, .paths = paths, .spec.side = side};
    r->arena = arena_new(4096);
    r->scratch = arena_new(4096);
    r->regexes = (struct regex_pool){&r->regex_list, &r->regex_count};
}

/* Hands on what was read, or frees it. */
static struct tls_material *reader_end(struct reader *r, bool ok, struct err *err)
{
    struct tls_material *m = NULL;
    if (ok) {
        m = tls_material_new(&r->spec, r->arena, err);
    } else {
        for (unsigned i = 0; i < r->regex_count; i++)
            regex_free(&r->regex_list[i]);
        arena_free(&r->arena);
    }
    free(r->regex_list);
    arena_free(&r->scratch);
    return m;
}

static struct tls_material *read_message(struct reader *r, struct str message, struct err *err)
{
    bool is_down = r->spec.side == TLS_DOWNSTREAM;
    ProtobufCMessage *m =
        codec_unpack(is_down ? &DOWNSTREAM_DESCRIPTOR : &UPSTREAM_DESCRIPTOR, message.p, message.n, r->scratch, err);
    bool ok = m && (is_down ? read_downstream(r, (const void *)m, err) : read_upstream(r, (const void *)m, err));
    return reader_end(r, ok, err);
}

struct tls_material *build_tls_material(enum tls_side side, struct str message, struct secrets *secrets, struct buf *paths_r,
                                        struct err *err)
{
    struct reader r;
    reader_init(&r, side, secrets, paths_r);
    return read_message(&r, message, err);
}

/* ---- Contexts. ---- */

static struct tls_ctx *build_ctx(enum tls_side side, const ProtobufCMessage *m, struct secrets *secrets, bool *later_r,
                                 struct err *err)
{
    struct buf message = {0}, paths = {0};
    struct tls_ctx *ctx = NULL;
    struct reader r;
    codec_pack(m, &message);
    reader_init(&r, side, secrets, &paths);
    struct tls_material *material = read_message(&r, buf_str(&message), err);
    *later_r = r.wants_control_plane;
    /* Where nothing but the content of a file is wrong, it can be mended while we run. */
    bool may_come = !material && r.in_file && buf_len(&paths) > 0;
    if (may_come) {
        log_warn(LOG_CONFIG, "a secret is not good yet, connections that need it fail: %s", err->text);
        *err = (struct err){0};
    }
    if (material || may_come)
        ctx = tls_ctx_new(material);
    if (ctx && buf_len(&paths) > 0)
        secrets_follow(secrets, ctx, side, buf_str(&message), buf_str(&paths));
    buf_fini(&message);
    buf_fini(&paths);
    return ctx;
}

struct tls_ctx *build_downstream_tls(const Google__Protobuf__Any *any, struct secrets *secrets, bool *later_r, struct err *err)
{
    struct arena *scratch = arena_new(4096);
    ProtobufCMessage *m = build_any(any, &DOWNSTREAM_DESCRIPTOR, scratch, err);
    *later_r = false;
    struct tls_ctx *ctx = m ? build_ctx(TLS_DOWNSTREAM, m, secrets, later_r, err) : NULL;
    if (!ctx)
        err_prefix(err, "DownstreamTlsContext");
    arena_free(&scratch);
    return ctx;
}

bool build_upstream_tls(const Google__Protobuf__Any *any, struct secrets *secrets, struct upstream_transport *to, bool *later_r,
                        struct err *err)
{
    struct arena *scratch = arena_new(4096);
    const TLS(UpstreamTlsContext) *m = (const void *)build_any(any, &UPSTREAM_DESCRIPTOR, scratch, err);
    *later_r = false;
    *to = (struct upstream_transport){.secure = true};
    if (m) {
        to->sni_of_host = m->auto_host_sni;
        to->verify_sni = m->auto_sni_san_validation;
        to->tls = build_ctx(TLS_UPSTREAM, &m->base, secrets, later_r, err);
    }
    if (!to->tls)
        err_prefix(err, "UpstreamTlsContext");
    arena_free(&scratch);
    return to->tls != NULL;
}
