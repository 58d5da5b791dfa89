/* Small values that several kinds of resources share: addresses, ranges, string and header matches, header edits,
 * fractions, metadata, access logs, Any. Main thread. */
#include "sidecar/config/build_value.h"

#include "sidecar/base/die.h"
#include "sidecar/config/supported.h"

#include "proto/accesslog_file.pb-c.h"
#include "proto/accesslog_stream.pb-c.h"

#include <stdio.h>
#include <string.h>

/* ---- Addresses. ---- */

bool build_address(const Envoy__Config__Core__V3__Address *m, struct addr *addr_r, struct str *name_r, uint16_t *port_r,
                   struct err *err)
{
    memset(addr_r, 0, sizeof(*addr_r));
    if (!m || m->address_case == ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS__NOT_SET)
        return err_set(err, "address: socket_address or pipe is required");
    if (m->address_case == ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_PIPE) {
        if (!addr_from_unix(str_of(m->pipe->path), addr_r))
            return err_set(err, "address.pipe.path: empty or too long for a unix socket, got \"%s\"", m->pipe->path);
        return true;
    }
    const Envoy__Config__Core__V3__SocketAddress *sa = m->socket_address;
    if (sa->protocol != ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PROTOCOL__TCP)
        return err_set(err, "address.socket_address.protocol: only TCP is supported");
    if (sa->port_specifier_case == ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_NAMED_PORT)
        return err_set(err, "address.socket_address.named_port: not supported, got \"%s\"; give port_value",
                       sa->named_port);
    if (sa->port_specifier_case != ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE)
        return err_set(err, "address.socket_address.port_value: is required");
    if (sa->port_value > 65535)
        return err_set(err, "address.socket_address.port_value: at most 65535, got %u", sa->port_value);
    if (!sa->address[0])
        return err_set(err, "address.socket_address.address: is required");
    if (addr_from_ip(str_of(sa->address), (uint16_t)sa->port_value, addr_r))
        return true;
    if (!name_r)
        return err_set(err, "address.socket_address.address: malformed IP address, got \"%s\"", sa->address);
    *name_r = str_of(sa->address);
    *port_r = (uint16_t)sa->port_value;
    return true;
}

bool build_cidrs(Envoy__Config__Core__V3__CidrRange **m, size_t count, struct arena *a, struct cidr **v_r,
                 unsigned *count_r, const char *path, struct err *err)
{
    *v_r = ARENA_ARRAY(a, struct cidr, count);
    *count_r = (unsigned)count;
    for (size_t i = 0; i < count; i++) {
        struct cidr *c = &(*v_r)[i];
        if (!addr_from_ip(str_of(m[i]->address_prefix), 0, &c->base))
            return err_set(err, "%s[%zu].address_prefix: malformed IP address, got \"%s\"", path, i,
                           m[i]->address_prefix);
        uint32_t bits = value_u32(m[i]->prefix_len, 0);
        if (bits > (c->base.sa.sa_family == AF_INET ? 32u : 128u))
            return err_set(err, "%s[%zu].prefix_len: too long for %s, got %u", path, i, m[i]->address_prefix, bits);
        c->bits = (uint8_t)bits;
    }
    return true;
}

/* ---- Header edits. ---- */

static bool is_token(const char *name)
{
    if (!name[0])
        return false;
    for (const char *p = name; *p; p++)
        if (*p <= ' ' || *p == 0x7f || strchr("()<>@,;:\\\"/[]?={}", *p))
            return false;
    return true;
}

/* A name that may be edited: any token but Host, as in Envoy. */
static bool edit_name(const char *name, struct arena *a, struct str *name_r, struct err *err)
{
    if (name[0] == ':' || strcasecmp(name, "host") == 0)
        return err_set(err, "%s may not be changed; host_rewrite_literal and prefix_rewrite do that", name);
    if (!is_token(name))
        return err_set(err, "not a header name, got \"%s\"", name);
    char *lower = arena_strdup(a, name);
    *name_r = str_of(lower);
    ascii_lower_n(lower, name_r->n);
    return true;
}

bool build_header_edits(Envoy__Config__Core__V3__HeaderValueOption **add, size_t add_count, char **remove,
                        size_t remove_count, struct arena *a, struct header_edits *edits_r, const char *path,
                        struct err *err)
{
    edits_r->add = ARENA_ARRAY(a, struct header_edit, add_count);
    edits_r->add_count = (unsigned)add_count;
    for (size_t i = 0; i < add_count; i++) {
        struct header_edit *e = &edits_r->add[i];
        if (!add[i]->header)
            return err_set(err, "%s_headers_to_add[%zu].header: is required", path, i);
        if (!edit_name(add[i]->header->key, a, &e->name, err))
            return err_prefix(err, "%s_headers_to_add[%zu].header.key", path, i);
        if (add[i]->append && add[i]->append_action != 0)
            return err_set(err, "%s_headers_to_add[%zu]: append and append_action exclude each other", path, i);
        e->action = (enum header_append)add[i]->append_action;
        if (add[i]->append)
            e->action = add[i]->append->value ? HEADER_APPEND_OR_ADD : HEADER_OVERWRITE_OR_ADD;
        e->keep_empty = add[i]->keep_empty_value;
        e->value = format_compile(a, str_of(add[i]->header->value), err);
        if (!e->value)
            return err_prefix(err, "%s_headers_to_add[%zu].header.value", path, i);
    }
    edits_r->remove = ARENA_ARRAY(a, struct str, remove_count);
    edits_r->remove_count = (unsigned)remove_count;
    for (size_t i = 0; i < remove_count; i++)
        if (!edit_name(remove[i], a, &edits_r->remove[i], err))
            return err_prefix(err, "%s_headers_to_remove[%zu]", path, i);
    return true;
}

/* ---- Metadata. ---- */

static bool scalar_text(const Google__Protobuf__Value *v, struct arena *a, struct str *text_r)
{
    switch (v->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        *text_r = arena_str(a, str_of(v->string_value));
        return true;
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        *text_r = v->bool_value ? STR("true") : STR("false");
        return true;
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        *text_r = arena_printf(a, "%.15g", v->number_value);
        return true;
    default:
        return false;
    }
}

void build_struct_pairs(const Google__Protobuf__Struct *m, struct str filter, struct arena *a,
                        struct metadata_pair **v_r, unsigned *count_r)
{
    *count_r = 0;
    *v_r = NULL;
    if (!m)
        return;
    *v_r = ARENA_ARRAY(a, struct metadata_pair, m->n_fields);
    for (size_t i = 0; i < m->n_fields; i++) {
        struct metadata_pair *p = &(*v_r)[*count_r];
        if (!m->fields[i]->value || !scalar_text(m->fields[i]->value, a, &p->value))
            continue;
        p->filter = arena_str(a, filter);
        p->key = arena_str(a, str_of(m->fields[i]->key));
        p->is_string = m->fields[i]->value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
        (*count_r)++;
    }
}

void build_metadata(const Envoy__Config__Core__V3__Metadata *m, struct arena *a, struct metadata_pair **v_r,
                    unsigned *count_r)
{
    size_t room = 0;
    *v_r = NULL;
    *count_r = 0;
    for (size_t i = 0; m && i < m->n_filter_metadata; i++)
        room += m->filter_metadata[i]->value ? m->filter_metadata[i]->value->n_fields : 0;
    if (room == 0)
        return;
    *v_r = ARENA_ARRAY(a, struct metadata_pair, room);
    for (size_t i = 0; i < m->n_filter_metadata; i++) {
        struct metadata_pair *pairs;
        unsigned count;
        build_struct_pairs(m->filter_metadata[i]->value, str_of(m->filter_metadata[i]->key), a, &pairs, &count);
        for (unsigned j = 0; j < count; j++)
            (*v_r)[(*count_r)++] = pairs[j];
    }
}

void build_labels(const Google__Protobuf__Struct *m, struct arena *a, struct subset_label **v_r, unsigned *count_r)
{
    struct metadata_pair *pairs;
    build_struct_pairs(m, STR("envoy.lb"), a, &pairs, count_r);
    *v_r = ARENA_ARRAY(a, struct subset_label, *count_r);
    for (unsigned i = 0; i < *count_r; i++)
        (*v_r)[i] = (struct subset_label){pairs[i].key, subset_value(a, pairs[i].value, pairs[i].is_string)};
}

struct subset_criteria *build_criteria(const Envoy__Config__Core__V3__Metadata *m, struct arena *a)
{
    for (size_t i = 0; m && i < m->n_filter_metadata; i++) {
        if (strcmp(m->filter_metadata[i]->key, "envoy.lb") != 0)
            continue;
        struct subset_criteria *c = ARENA_NEW(a, struct subset_criteria);
        build_labels(m->filter_metadata[i]->value, a, &c->v, &c->count);
        subset_criteria_finish(c, a);
        return c;
    }
    return NULL;
}

/* ---- Any. ---- */

struct str build_type_of(const Google__Protobuf__Any *any)
{
    struct str url = str_of(any->type_url);
    for (size_t i = url.n; i > 0; i--)
        if (url.p[i - 1] == '/')
            return str_sub(url, i, SIZE_MAX);
    return url;
}

ProtobufCMessage *build_any_of_its_type(const Google__Protobuf__Any *any, struct arena *scratch, struct err *err)
{
    ProtobufCMessage *m = codec_unpack_any(str_of(any->type_url), any->value.data, any->value.len, scratch, err);
    if (m && !supported_check(m, err))
        m = NULL;
    if (!m)
        err_prefix(err, "typed_config (%s)", any->type_url);
    return m;
}

ProtobufCMessage *build_any(const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *want,
                            struct arena *scratch, struct err *err)
{
    if (!any || !str_eq(build_type_of(any), str_of(want->name))) {
        err_set(err, "typed_config: %s is required, got \"%s\"", want->name, any ? any->type_url : "");
        return NULL;
    }
    return build_any_of_its_type(any, scratch, err);
}

/* ---- Access logs. ---- */

/* Envoy's format where the log gives none. */
static const char default_log_format[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% "
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" "
    "\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

static bool json_format(const Google__Protobuf__Struct *m, struct arena *a, struct access_log_cfg *log, struct err *err)
{
    struct format_json *j = format_json_new(a);
    for (size_t i = 0; i < m->n_fields; i++) {
        const Google__Protobuf__Value *v = m->fields[i]->value;
        if (!v || v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE)
            return err_set(err, "json_format.%s: only strings are supported as values", m->fields[i]->key);
        if (!format_json_add(j, str_of(m->fields[i]->key), str_of(v->string_value), err))
            return err_prefix(err, "json_format.%s", m->fields[i]->key);
    }
    log->json = j;
    return true;
}

static bool text_format(const char *text, struct arena *a, struct access_log_cfg *log, struct err *err)
{
    log->text = format_compile(a, str_of(text), err);
    return log->text || err_prefix(err, "log_format");
}

static bool log_format(const Envoy__Config__Core__V3__SubstitutionFormatString *f, struct arena *a,
                       struct access_log_cfg *log, struct err *err)
{
    if (!f)
        return text_format(default_log_format, a, log, err);
    switch (f->format_case) {
    case ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT:
        return text_format(f->text_format, a, log, err);
    case ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_JSON_FORMAT:
        return json_format(f->json_format, a, log, err);
    case ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE:
        if (f->text_format_source->specifier_case == ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING)
            return text_format(f->text_format_source->inline_string, a, log, err);
        return err_set(err, "log_format.text_format_source: only inline_string is supported");
    default:
        return err_set(err, "log_format: text_format, json_format or text_format_source is required");
    }
}

static bool file_format(const Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog *f, struct arena *a,
                        struct access_log_cfg *log, struct err *err)
{
    switch (f->access_log_format_case) {
    case ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_FORMAT:
        return text_format(f->format, a, log, err);
    case ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_JSON_FORMAT:
        return json_format(f->json_format, a, log, err);
    case ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_TYPED_JSON_FORMAT:
        return json_format(f->typed_json_format, a, log, err);
    case ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_LOG_FORMAT:
        return log_format(f->log_format, a, log, err);
    default:
        return log_format(NULL, a, log, err);
    }
}

static bool log_filter(const Envoy__Config__Accesslog__V3__AccessLogFilter *f, struct access_log_cfg *log,
                       struct err *err)
{
    if (!f)
        return true;
    if (f->filter_specifier_case !=
        ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG_FILTER__FILTER_SPECIFIER_RESPONSE_FLAG_FILTER)
        return err_set(err, "filter: only response_flag_filter is supported");
    log->flag_filter = true;
    for (size_t i = 0; i < f->response_flag_filter->n_flags; i++) {
        unsigned flag = 0;
        while (flag < FLAG_COUNT && strcmp(response_flag_short((enum response_flag)flag),
                                           f->response_flag_filter->flags[i]) != 0)
            flag++;
        if (flag == FLAG_COUNT)
            return err_set(err, "filter.response_flag_filter.flags[%zu]: not a response flag, got \"%s\"", i,
                           f->response_flag_filter->flags[i]);
        log->flag_mask |= (uint64_t)1 << flag;
    }
    return true;
}

static bool access_log(const Envoy__Config__Accesslog__V3__AccessLog *m, struct arena *a, struct arena *scratch,
                       struct access_log_cfg *log, struct err *err)
{
    const char *path = NULL;
    if (!m->typed_config)
        return err_set(err, "typed_config: is required");
    ProtobufCMessage *config = build_any_of_its_type(m->typed_config, scratch, err);
    if (!config)
        return false;
    if (config->descriptor == &envoy__extensions__access_loggers__file__v3__file_access_log__descriptor) {
        const Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog *f = (const void *)config;
        path = f->path;
        if (!file_format(f, a, log, err))
            return false;
    } else if (config->descriptor == &envoy__extensions__access_loggers__stream__v3__stdout_access_log__descriptor) {
        path = "/dev/stdout";
        if (!log_format(((const Envoy__Extensions__AccessLoggers__Stream__V3__StdoutAccessLog *)config)->log_format, a,
                        log, err))
            return false;
    } else if (config->descriptor == &envoy__extensions__access_loggers__stream__v3__stderr_access_log__descriptor) {
        path = "/dev/stderr";
        if (!log_format(((const Envoy__Extensions__AccessLoggers__Stream__V3__StderrAccessLog *)config)->log_format, a,
                        log, err))
            return false;
    } else {
        return err_set(err, "typed_config: %s is not an access log that is supported; file and stdout logs are",
                       m->typed_config->type_url);
    }
    if (!path[0])
        return err_set(err, "typed_config.path: is required");
    if (!log_filter(m->filter, log, err))
        return false;
    int error = 0;
    log->log = access_log_ref(path, &error);
    return log->log || err_set(err, "typed_config.path: cannot open %s: %s", path, strerror(-error));
}

bool build_access_logs(Envoy__Config__Accesslog__V3__AccessLog **m, size_t count, struct arena *a,
                       struct access_log_cfg **v_r, unsigned *count_r, struct err *err)
{
    struct arena *scratch = arena_new(1024);
    bool ok = true;
    *v_r = ARENA_ARRAY(a, struct access_log_cfg, count);
    *count_r = 0;
    for (size_t i = 0; ok && i < count; i++) {
        ok = access_log(m[i], a, scratch, &(*v_r)[i], err);
        if (ok)
            (*count_r)++;
        else
            err_prefix(err, "access_log[%zu]", i);
    }
    arena_free(&scratch);
    return ok;
}

void access_logs_fini(struct access_log_cfg *v, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        access_log_unref(&v[i].log);
}
