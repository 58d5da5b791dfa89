/* Small values that several kinds of resources share: addresses, ranges, string and header matches, header edits,
 * fractions, metadata, Any. Main thread. */
#include "sidecar/config/build_value.h"

#include "sidecar/base/die.h"
#include "sidecar/config/supported.h"

#include "proto/preserve_case.pb-c.h"

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

/* ---- Names of fields. ---- */

#define NAME_FORMAT(x) ENVOY__CONFIG__CORE__V3__HTTP1_PROTOCOL_OPTIONS__HEADER_KEY_FORMAT__HEADER_FORMAT_##x
#define PRESERVE_CASE(x) Envoy__Extensions__Http__HeaderFormatters__PreserveCase__V3__##x
#define ON_OTHERS(x)                                                                                                      \
    ENVOY__EXTENSIONS__HTTP__HEADER_FORMATTERS__PRESERVE_CASE__V3__PRESERVE_CASE_FORMATTER_CONFIG__FORMATTER_TYPE_ON_ENVOY_HEADERS__##x

static bool keep_names(const Google__Protobuf__Any *any, struct arena *scratch, struct name_options *to, struct err *err)
{
    const PRESERVE_CASE(PreserveCaseFormatterConfig) *m = (const void *)build_any(
        any, &envoy__extensions__http__header_formatters__preserve_case__v3__preserve_case_formatter_config__descriptor, scratch, err);
    if (!m)
        return false;
    if (m->formatter_type_on_envoy_headers != ON_OTHERS(DEFAULT) && m->formatter_type_on_envoy_headers != ON_OTHERS(PROPER_CASE))
        return err_set(err, "formatter_type_on_envoy_headers: unknown, got %d", (int)m->formatter_type_on_envoy_headers);
    *to = (struct name_options){NAMES_KEPT, m->formatter_type_on_envoy_headers == ON_OTHERS(PROPER_CASE),
                                m->forward_reason_phrase};
    return true;
}

bool build_names(const Envoy__Config__Core__V3__Http1ProtocolOptions *m, struct arena *scratch, struct name_options *to,
                 struct err *err)
{
    if (!m || !m->header_key_format)
        return true;
    switch (m->header_key_format->header_format_case) {
    case NAME_FORMAT(PROPER_CASE_WORDS):
        to->form = NAMES_PROPER;
        return true;
    case NAME_FORMAT(STATEFUL_FORMATTER):
        return keep_names(m->header_key_format->stateful_formatter->typed_config, scratch, to, err) ||
               err_prefix(err, "http_protocol_options.header_key_format.stateful_formatter");
    default:
        return err_set(err, "http_protocol_options.header_key_format: proper_case_words or stateful_formatter is required");
    }
}

/* ---- Data. ---- */

bool build_inline_data(const Envoy__Config__Core__V3__DataSource *m, struct arena *a, struct str *data_r, struct err *err)
{
    switch (m->specifier_case) {
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING:
        *data_r = arena_str(a, str_of(m->inline_string));
        return true;
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES:
        *data_r = arena_str(a, str_n((const char *)m->inline_bytes.data, m->inline_bytes.len));
        return true;
    default:
        return err_set(err, "inline_string and inline_bytes are supported");
    }
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
