/* The file access log, in Istio's two forms. Pure. */
#include "control/compile/access_log.h"

#include "sidecar/base/die.h"

#include <string.h>

/* Istio's default line. */
static const char text_format[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% "
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/* Istio's default members. */
static const char *const json_members[][2] = {
    {"start_time", "%START_TIME%"},
    {"route_name", "%ROUTE_NAME%"},
    {"method", "%REQ(:METHOD)%"},
    {"path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"},
    {"protocol", "%PROTOCOL%"},
    {"response_code", "%RESPONSE_CODE%"},
    {"response_flags", "%RESPONSE_FLAGS%"},
    {"response_code_details", "%RESPONSE_CODE_DETAILS%"},
    {"connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"},
    {"bytes_received", "%BYTES_RECEIVED%"},
    {"bytes_sent", "%BYTES_SENT%"},
    {"duration", "%DURATION%"},
    {"upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"},
    {"x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"},
    {"user_agent", "%REQ(USER-AGENT)%"},
    {"request_id", "%REQ(X-REQUEST-ID)%"},
    {"authority", "%REQ(:AUTHORITY)%"},
    {"upstream_host", "%UPSTREAM_HOST%"},
    {"upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"},
    {"upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"},
    {"downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"},
    {"downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"},
    {"requested_server_name", "%REQUESTED_SERVER_NAME%"},
    {"upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"},
};

static void set_json(struct arena *a, CORE(SubstitutionFormatString) *format)
{
    format->format_case = ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_JSON_FORMAT;
    format->json_format = emit_struct_value(a);
    for (size_t i = 0; i < ARRAY_LEN(json_members); i++)
        emit_struct_text(a, format->json_format, json_members[i][0], str_of(json_members[i][1]));
}

static void set_text(struct arena *a, CORE(SubstitutionFormatString) *format, const char *own)
{
    size_t n = strlen(own);
    CORE(DataSource) *source = emit_data_source(a);
    source->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING;
    if (n == 0)
        source->inline_string = emit_text(a, str_of(text_format));
    else
        source->inline_string = emit_printf(a, "%s%s", own, own[n - 1] == '\n' ? "" : "\n");
    format->format_case = ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE;
    format->text_format_source = source;
}

ACCESS_LOG(AccessLog) *access_log_of_mesh(struct view *v)
{
    struct arena *a = v->arena;
    const ISTIO_MESH(MeshConfig) *mesh = v->registry->mesh;
    if (!mesh->access_log_file[0])
        return NULL;
    Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog *file = emit_file_log(a);
    ACCESS_LOG(AccessLog) *log = emit_access_log(a);
    file->path = mesh->access_log_file;
    file->access_log_format_case = ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_LOG_FORMAT;
    file->log_format = emit_format_string(a);
    if (mesh->access_log_encoding == ISTIO__MESH__V1ALPHA1__MESH_CONFIG__ACCESS_LOG_ENCODING__JSON)
        set_json(a, file->log_format);
    else
        set_text(a, file->log_format, mesh->access_log_format);
    log->name = emit_text(a, STR("envoy.access_loggers.file"));
    log->config_type_case = ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG__CONFIG_TYPE_TYPED_CONFIG;
    log->typed_config = emit_any(a, file);
    return log;
}
