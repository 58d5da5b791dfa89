/* Owns the log's file descriptor and levels. Any thread: a line is one write(2), so lines never mix.
 * Invariant: once the log is a file, its descriptor keeps its number. */
#include "sidecar/base/log.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE_CAP 4096

static const char *const level_names[LOG_LEVEL_COUNT] = {
    "trace", "debug", "info", "warning", "error", "critical", "off",
};
static const char *const component_names[LOG_COMPONENT_COUNT] = {
    "main",   "config",   "connection", "http", "http2", "pool",  "router",
    "filter", "upstream", "xds",        "grpc", "admin", "dns",   "control",
};

_Atomic unsigned char log_levels[LOG_COMPONENT_COUNT] = {
    LOG_INFO, LOG_INFO, LOG_INFO, LOG_INFO, LOG_INFO, LOG_INFO, LOG_INFO,
    LOG_INFO, LOG_INFO, LOG_INFO, LOG_INFO, LOG_INFO, LOG_INFO, LOG_INFO,
};
static _Atomic int log_fd = STDERR_FILENO;

const char *log_level_name(enum log_level level)
{
    assert(level < LOG_LEVEL_COUNT);
    return level_names[level];
}

bool log_level_parse(struct str name, enum log_level *level_r)
{
    if (str_eq_c(name, "warn"))
        name = STR("warning");
    for (unsigned i = 0; i < LOG_LEVEL_COUNT; i++) {
        if (str_eq_c(name, level_names[i])) {
            *level_r = (enum log_level)i;
            return true;
        }
    }
    return false;
}

const char *log_component_name(enum log_component component)
{
    assert(component < LOG_COMPONENT_COUNT);
    return component_names[component];
}

bool log_component_parse(struct str name, enum log_component *component_r)
{
    for (unsigned i = 0; i < LOG_COMPONENT_COUNT; i++) {
        if (str_eq_c(name, component_names[i])) {
            *component_r = (enum log_component)i;
            return true;
        }
    }
    return false;
}

void log_set_level(enum log_level level)
{
    for (unsigned i = 0; i < LOG_COMPONENT_COUNT; i++)
        log_levels[i] = (unsigned char)level;
}

void log_set_component_level(enum log_component component, enum log_level level)
{
    assert(component < LOG_COMPONENT_COUNT && level < LOG_LEVEL_COUNT);
    log_levels[component] = (unsigned char)level;
}

enum log_level log_get_component_level(enum log_component component)
{
    assert(component < LOG_COMPONENT_COUNT);
    return (enum log_level)log_levels[component];
}

int log_open(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    if (log_fd == STDERR_FILENO) {
        log_fd = fd;
        return 0;
    }
    /* The number must not become free: another thread may be about to write to it. */
    int rc = dup3(fd, log_fd, O_CLOEXEC) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

void log_line(enum log_component component, enum log_level level, const char *fmt, ...)
{
    char line[LINE_CAP], when[32];
    int n = snprintf(line, sizeof(line), "%s %s %s [%ld] ",
                     clock_format_rfc3339(clock_wall_us(), when, sizeof(when)),
                     log_level_name(level), log_component_name(component), syscall(SYS_gettid));
    va_list ap;
    va_start(ap, fmt);
    int more = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    va_end(ap);
    n += more > (int)sizeof(line) - n - 2 ? (int)sizeof(line) - n - 2 : more;
    /* A peer's bytes must not forge a second line. */
    for (int i = 0; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    line[n++] = '\n';
    ssize_t rc = write(log_fd, line, (size_t)n);
    (void)rc; /* a full disk must not stop traffic */
}
