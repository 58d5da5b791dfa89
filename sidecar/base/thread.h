/* Memory that a thread keeps for its next use. */
#ifndef OUTRIGGER_BASE_THREAD_H
#define OUTRIGGER_BASE_THREAD_H

/* Whether what is given back may be kept: not under the address sanitizer, so that it finds the use of freed memory. */
#if defined(__SANITIZE_ADDRESS__)
#define THREAD_KEEPS_MEMORY 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define THREAD_KEEPS_MEMORY 0
#endif
#endif
#ifndef THREAD_KEEPS_MEMORY
#define THREAD_KEEPS_MEMORY 1
#endif

/* When the calling thread ends, fn(arg) is called on it, in no order among several. */
void thread_at_exit(void (*fn)(void *arg), void *arg);

#endif
