/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "macro.h"

/* Text in buffers of fixed size: most names here are short and bounded by the kernel, so nothing needs the heap. */

/* Copies s into buf. Returns false, with buf empty, if it does not fit: a name is never silently cut. */
bool text_copy(char *buf, size_t size, const char *s);

/* Appends formatted text; what does not fit is cut, with "..." at the end. For messages to people, never for names. */
void text_append(char *buf, size_t size, const char *format, ...) _printf_(3, 4);

/* A decimal number with nothing around it, at most max. Returns -EINVAL or -ERANGE. */
int text_to_u64(const char *s, uint64_t max, uint64_t *ret);

/* A hexadecimal number with or without 0x, at most max. Returns -EINVAL or -ERANGE. */
int text_to_hex(const char *s, uint64_t max, uint64_t *ret);

/* A size as administrators write it: 65536, 512K, 64M, 8G, 1T, or "infinity" (UINT64_MAX). */
int text_to_size(const char *s, uint64_t *ret);

/* yes/no, true/false, on/off, 1/0. Returns -EINVAL otherwise. */
int text_to_bool(const char *s, bool *ret);

/* Walks through the words of s: sets the start and the length of the next one, returns false at the end. */
bool text_next_word(const char **s, const char **ret_word, size_t *ret_length);

/* True if word is one of the space-separated words. */
bool text_has_word(const char *words, const char *word);

/* True if there is more than the suffix, and it ends with that. */
bool text_has_suffix(const char *s, const char *suffix);

/* Printable ASCII without control characters: what may stand in a log line or a state file. */
bool text_is_printable(const char *s);
