/* What a sidecar says by TLS to the endpoints of a cluster: istiod's layout of ClientTLSSettings, but for where files are named.
 *
 * istiod names files as secrets of an agent beside each proxy ("file-root:PATH"). There is no agent here, so that the files stand
 * in the context itself, which a stock Envoy reads, too. They are files of the pod: nobody but its sidecar reads them, and one
 * that is not there makes it refuse the cluster. The directory to watch makes our sidecar read a file again that is replaced. */
#include "control/compile/cluster.h"

#include <string.h>

#define TLS(name) Envoy__Extensions__TransportSockets__Tls__V3__##name
#define EMIT_TLS(name, type, lower) EMIT(name, TLS(type), envoy__extensions__transport_sockets__tls__v3__##lower)
/* Where the authorities that everybody trusts stand in Debian, Ubuntu, Alpine and the images of Envoy. */
#define SYSTEM_AUTHORITIES "/etc/ssl/certs/ca-certificates.crt"

EMIT_TLS(upstream_tls, UpstreamTlsContext, upstream_tls_context)
EMIT_TLS(common_tls, CommonTlsContext, common_tls_context)
EMIT_TLS(tls_parameters, TlsParameters, tls_parameters)
EMIT_TLS(tls_certificate, TlsCertificate, tls_certificate)
EMIT_TLS(tls_validation, CertificateValidationContext, certificate_validation_context)
EMIT_CORE(transport_socket, TransportSocket, transport_socket)
EMIT_CORE(upstream_http_options, UpstreamHttpProtocolOptions, upstream_http_protocol_options)
EMIT_CORE(watched_directory, WatchedDirectory, watched_directory)

static CORE(DataSource) *file_of(struct arena *a, const char *path)
{
    CORE(DataSource) *d = emit_data_source(a);
    const char *slash = strrchr(path, '/');
    size_t n = slash > path ? (size_t)(slash - path) : 1;
    d->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_FILENAME;
    d->filename = emit_text(a, str_of(path));
    d->watched_directory = emit_watched_directory(a);
    d->watched_directory->path = slash ? emit_text(a, str_n(path, n)) : emit_text(a, STR("."));
    return d;
}

static bool skips_verification(const ISTIO(ClientTLSSettings) *tls)
{
    return tls->insecure_skip_verify && tls->insecure_skip_verify->value;
}

/* The rule's names, else those of the ServiceEntry. */
static void expect_names(struct build *b, const struct service *s, const ISTIO(ClientTLSSettings) *tls,
                         TLS(CertificateValidationContext) *to)
{
    size_t count = tls->n_subject_alt_names;
    char **names = tls->subject_alt_names;
    if (count == 0 && s->is_entry) {
        const ISTIO(ServiceEntry) *entry = (const ISTIO(ServiceEntry) *)s->object->body;
        count = entry->n_subject_alt_names;
        names = entry->subject_alt_names;
    }
    for (size_t i = 0; i < count; i++) {
        MATCHER(StringMatcher) *m = emit_string_matcher(b->arena);
        m->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
        m->exact = emit_text(b->arena, str_of(names[i]));
        EMIT_PUSH(b->arena, to->n_match_subject_alt_names, to->match_subject_alt_names, m);
    }
}

static void judge(struct build *b, const struct service *s, const ISTIO(ClientTLSSettings) *tls, TLS(CommonTlsContext) *common)
{
    TLS(CertificateValidationContext) *v = emit_tls_validation(b->arena);
    common->validation_context_type_case =
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT;
    common->validation_context = v;
    if (skips_verification(tls))
        return;
    v->trusted_ca = file_of(b->arena, tls->ca_certificates[0] ? tls->ca_certificates : SYSTEM_AUTHORITIES);
    if (tls->ca_crl[0])
        v->crl = file_of(b->arena, tls->ca_crl);
    expect_names(b, s, tls, v);
}

/* Without a name in the rule it is the host of the request. */
static void name_by_request(struct build *b, const ISTIO(ClientTLSSettings) *tls)
{
    if (tls->sni[0])
        return;
    CORE(UpstreamHttpProtocolOptions) *o = emit_upstream_http_options(b->arena);
    o->auto_sni = true;
    o->auto_san_validation = tls->n_subject_alt_names == 0 && !skips_verification(tls);
    cluster_http(b)->upstream_http_protocol_options = o;
}

static bool speaks_http2(const struct build *b)
{
    return b->http && b->http->explicit_http_config &&
           b->http->explicit_http_config->protocol_config_case ==
               ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS;
}

void cluster_apply_tls(struct build *b, const struct service *s, const struct policy *policy)
{
    const ISTIO(ClientTLSSettings) *tls = policy->tls;
    struct arena *a = b->arena;
    if (!tls || tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__DISABLE)
        return;
    /* The check lets nothing else pass. */
    assert(tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__SIMPLE ||
           tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__MUTUAL);
    TLS(UpstreamTlsContext) *context = emit_upstream_tls(a);
    TLS(CommonTlsContext) *common = context->common_tls_context = emit_common_tls(a);
    context->sni = emit_text(a, str_of(tls->sni));
    common->tls_params = emit_tls_parameters(a);
    common->tls_params->tls_minimum_protocol_version =
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__TLS_PARAMETERS__TLS_PROTOCOL__TLSv1_2;
    common->tls_params->tls_maximum_protocol_version =
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__TLS_PARAMETERS__TLS_PROTOCOL__TLSv1_3;
    if (tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__MUTUAL) {
        TLS(TlsCertificate) *pair = emit_tls_certificate(a);
        pair->certificate_chain = file_of(a, tls->client_certificate);
        pair->private_key = file_of(a, tls->private_key);
        EMIT_PUSH(a, common->n_tls_certificates, common->tls_certificates, pair);
    }
    judge(b, s, tls, common);
    name_by_request(b, tls);
    if (speaks_http2(b))
        EMIT_PUSH(a, common->n_alpn_protocols, common->alpn_protocols, emit_text(a, STR("h2")));
    b->cluster->transport_socket = emit_transport_socket(a);
    b->cluster->transport_socket->name = emit_text(a, STR("envoy.transport_sockets.tls"));
    b->cluster->transport_socket->config_type_case = ENVOY__CONFIG__CORE__V3__TRANSPORT_SOCKET__CONFIG_TYPE_TYPED_CONFIG;
    b->cluster->transport_socket->typed_config = emit_any(a, context);
}
