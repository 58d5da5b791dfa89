/* Access logs out of protobuf: where they go, their formats, their filters. Main thread. */
#include "sidecar/config/build_log.h"

#include "sidecar/config/build_value.h"

#include "proto/accesslog_file.pb-c.h"
#include "proto/accesslog_stream.pb-c.h"

#include <string.h>

/* Envoy's format where the log gives none. */
static const char default_log_format[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% "
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" "
    "\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

static bool json_format(const Google__Protobuf__Struct *m, struct arena *a, struct text_format *to, struct err *err)
{
    struct format_json *j = format_json_new(a);
    for (size_t i = 0; i < m->n_fields; i++) {
        const Google__Protobuf__Value *v = m->fields[i]->value;
        if (!v || v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE)
            return err_set(err, "json_format.%s: only strings are supported as values", m->fields[i]->key);
        if (!format_json_add(j, str_of(m->fields[i]->key), str_of(v->string_value), err))
            return err_prefix(err, "json_format.%s", m->fields[i]->key);
    }
    to->json = j;
    return true;
}

static bool text_format(const char *text, struct arena *a, struct text_format *to, struct err *err)
{
    to->text = format_compile(a, str_of(text), err);
    return to->text != NULL;
}

bool build_format(const Envoy__Config__Core__V3__SubstitutionFormatString *f, struct arena *a, struct text_format *to,
                  struct err *err)
{
    switch (f->format_case) {
    case ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT:
        return text_format(f->text_format, a, to, err) || err_prefix(err, "text_format");
    case ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_JSON_FORMAT:
        return json_format(f->json_format, a, to, err);
    case ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE:
        if (f->text_format_source->specifier_case == ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING)
            return text_format(f->text_format_source->inline_string, a, to, err) || err_prefix(err, "text_format_source");
        return err_set(err, "text_format_source: only inline_string is supported");
    default:
        return err_set(err, "text_format, json_format or text_format_source is required");
    }
}

static bool log_format(const Envoy__Config__Core__V3__SubstitutionFormatString *f, struct arena *a, struct text_format *to,
                       struct err *err)
{
    if (!f)
        return text_format(default_log_format, a, to, err);
    return build_format(f, a, to, err) || err_prefix(err, "log_format");
}

static bool file_format(const Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog *f, struct arena *a,
                        struct text_format *to, struct err *err)
{
    switch (f->access_log_format_case) {
    case ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_FORMAT:
        return text_format(f->format, a, to, err) || err_prefix(err, "format");
    case ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_JSON_FORMAT:
        return json_format(f->json_format, a, to, err);
    case ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_TYPED_JSON_FORMAT:
        return json_format(f->typed_json_format, a, to, err);
    case ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_LOG_FORMAT:
        return log_format(f->log_format, a, to, err);
    default:
        return log_format(NULL, a, to, err);
    }
}

static bool access_log(const Envoy__Config__Accesslog__V3__AccessLog *m, struct arena *a, struct arena *scratch,
                       struct regex_pool *pool, struct access_log_cfg *log, struct err *err)
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
        if (!file_format(f, a, &log->format, err))
            return false;
    } else if (config->descriptor == &envoy__extensions__access_loggers__stream__v3__stdout_access_log__descriptor) {
        path = "/dev/stdout";
        if (!log_format(((const Envoy__Extensions__AccessLoggers__Stream__V3__StdoutAccessLog *)config)->log_format, a,
                        &log->format, err))
            return false;
    } else if (config->descriptor == &envoy__extensions__access_loggers__stream__v3__stderr_access_log__descriptor) {
        path = "/dev/stderr";
        if (!log_format(((const Envoy__Extensions__AccessLoggers__Stream__V3__StderrAccessLog *)config)->log_format, a,
                        &log->format, err))
            return false;
    } else {
        return err_set(err, "typed_config: %s is not an access log that is supported; file and stdout logs are",
                       m->typed_config->type_url);
    }
    if (!path[0])
        return err_set(err, "typed_config.path: is required");
    if (m->filter && !(log->filter = build_log_filter(m->filter, a, pool, err)))
        return err_prefix(err, "filter");
    int error = 0;
    log->log = access_log_ref(path, &error);
    return log->log || err_set(err, "typed_config.path: cannot open %s: %s", path, strerror(-error));
}

bool build_access_logs(Envoy__Config__Accesslog__V3__AccessLog **m, size_t count, struct arena *a,
                       struct regex_pool *pool, struct access_log_cfg **v_r, unsigned *count_r, struct err *err)
{
    struct arena *scratch = arena_new(1024);
    bool ok = true;
    *v_r = ARENA_ARRAY(a, struct access_log_cfg, count);
    *count_r = 0;
    for (size_t i = 0; ok && i < count; i++) {
        ok = access_log(m[i], a, scratch, pool, &(*v_r)[i], err);
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
