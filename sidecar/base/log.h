/* The program's own log: one line an event, to stderr or a file, levels per component. */
#ifndef OUTRIGGER_BASE_LOG_H
#define OUTRIGGER_BASE_LOG_H

#include "sidecar/base/str.h"

/* Envoy's levels and names. */
enum log_level {
    LOG_TRACE,
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
    LOG_CRITICAL,
    LOG_OFF,
    LOG_LEVEL_COUNT,
};

enum log_component {
    LOG_MAIN,
    LOG_CONFIG,
    LOG_CONNECTION,
    LOG_HTTP,
    LOG_HTTP2,
    LOG_POOL,
    LOG_ROUTER,
    LOG_FILTER,
    LOG_UPSTREAM,
    LOG_XDS, /* called "xds"; Envoy's "config" is LOG_CONFIG */
    LOG_GRPC,
    LOG_ADMIN,
    LOG_DNS,
    LOG_CONTROL,
    LOG_COMPONENT_COUNT,
};

const char *log_level_name(enum log_level level);
bool log_level_parse(struct str name, enum log_level *level_r);
const char *log_component_name(enum log_component component);
bool log_component_parse(struct str name, enum log_component *component_r);

/* Sets all components. Levels may change at any time from any thread. */
void log_set_level(enum log_level level);
void log_set_component_level(enum log_component component, enum log_level level);
enum log_level log_get_component_level(enum log_component component);
/* Lines go to path instead of stderr, appended. 0 or -errno. */
int log_open(const char *path);

extern _Atomic unsigned char log_levels[LOG_COMPONENT_COUNT];

void log_line(enum log_component component, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define LOG_AT(component, level, ...)                                                              \
    do {                                                                                           \
        if ((level) >= log_levels[component])                                                      \
            log_line((component), (level), __VA_ARGS__);                                           \
    } while (0)
#define log_trace(component, ...) LOG_AT(component, LOG_TRACE, __VA_ARGS__)
#define log_debug(component, ...) LOG_AT(component, LOG_DEBUG, __VA_ARGS__)
#define log_info(component, ...) LOG_AT(component, LOG_INFO, __VA_ARGS__)
#define log_warn(component, ...) LOG_AT(component, LOG_WARN, __VA_ARGS__)
#define log_error(component, ...) LOG_AT(component, LOG_ERROR, __VA_ARGS__)

#endif
