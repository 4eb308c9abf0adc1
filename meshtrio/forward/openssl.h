/*
 * What records.c calls of OpenSSL 1.1.1 or later, as its manual declares it, and the one BIO that all ends share.
 *
 * The functions are looked for in the library that Python's `ssl` is linked to, for the SSLs are made by that, and a
 * second one need not agree on what they are. So no header of OpenSSL is needed to build this.
 */
#pragma once

#include <Python.h>

#include <dlfcn.h>
#include <string.h>

typedef struct ssl_st SSL;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;

enum { SSL_ERROR_WANT_READ = 2, SSL_ERROR_ZERO_RETURN = 6 };
enum { BIO_FLAGS_READ = 0x01, BIO_FLAGS_SHOULD_RETRY = 0x08, BIO_TYPE_SOURCE_SINK = 0x0400, BIO_CTRL_FLUSH = 11 };

#define OPENSSL(DO)                                                                 \
	DO(int, SSL_read, (SSL *, void *, int))                                      \
	DO(int, SSL_write, (SSL *, const void *, int))                               \
	DO(int, SSL_shutdown, (SSL *))                                               \
	DO(int, SSL_get_error, (const SSL *, int))                                   \
	DO(void, SSL_set_bio, (SSL *, BIO *, BIO *))                                 \
	DO(void, ERR_clear_error, (void))                                            \
	DO(unsigned long, ERR_peek_error, (void))                                    \
	DO(unsigned long, ERR_peek_last_error, (void))                               \
	DO(const char *, ERR_reason_error_string, (unsigned long))                   \
	DO(int, BIO_get_new_index, (void))                                           \
	DO(BIO_METHOD *, BIO_meth_new, (int, const char *))                          \
	DO(int, BIO_meth_set_read, (BIO_METHOD *, int (*)(BIO *, char *, int)))      \
	DO(int, BIO_meth_set_write, (BIO_METHOD *, int (*)(BIO *, const char *, int))) \
	DO(int, BIO_meth_set_ctrl, (BIO_METHOD *, long (*)(BIO *, int, long, void *))) \
	DO(BIO *, BIO_new, (const BIO_METHOD *))                                     \
	DO(void, BIO_set_init, (BIO *, int))                                         \
	DO(void, BIO_set_flags, (BIO *, int))                                        \
	DO(void, BIO_clear_flags, (BIO *, int))                                      \
	DO(int, BIO_up_ref, (BIO *))

static struct {
#define DECLARED(result, name, arguments) result(*name) arguments;
	OPENSSL(DECLARED)
#undef DECLARED
} openssl;

/* Ciphertext that OpenSSL has not taken yet, in the memory of whoever reads the socket. */
static struct {
	const char *bytes;
	size_t at, size;
} in;

/* Ciphertext that nobody has sent yet. Grows to what one call of SSL_write makes, and is kept. */
static struct {
	char *bytes;
	size_t size, room;
} out;

/*
 * Make sure that the thread's queue of errors is empty, as SSL_get_error(3) wants it before each call: others use it,
 * too. To look is cheaper than to empty it.
 */
static inline void forget_errors(void)
{
	if (openssl.ERR_peek_error())
		openssl.ERR_clear_error();
}

/* OpenSSL's words for what just failed; afterwards its queue of errors is empty, as others want it to be. */
static const char *why_it_failed(void)
{
	const char *words = openssl.ERR_reason_error_string(openssl.ERR_peek_last_error());

	openssl.ERR_clear_error();
	return words ? words : "TLS failed";
}

static int desk_read(BIO *bio, char *into, int most)
{
	size_t left = in.size - in.at, got = left < (size_t)most ? left : (size_t)most;

	openssl.BIO_clear_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
	if (!got) {
		openssl.BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
		return -1;
	}
	memcpy(into, in.bytes + in.at, got);
	in.at += got;
	return (int)got;
}

static int desk_write(BIO *bio, const char *from, int size)
{
	size_t wanted = out.size + (size_t)size;

	(void)bio;
	if (wanted > out.room) {
		char *bytes = realloc(out.bytes, 2 * wanted);

		if (!bytes)
			return -1; /* SSL_write fails, and so does the connection */
		out.bytes = bytes;
		out.room = 2 * wanted;
	}
	memcpy(out.bytes + out.size, from, (size_t)size);
	out.size = wanted;
	return size;
}

static long desk_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH; /* of all commands the only one that OpenSSL wants to succeed */
}

/* Make the BIO. NULL: there is no memory. */
static BIO *made_desk(void)
{
	BIO_METHOD *method = openssl.BIO_meth_new(openssl.BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "meshtrio");
	BIO *desk;

	if (!method || !openssl.BIO_meth_set_read(method, desk_read) ||
	    !openssl.BIO_meth_set_write(method, desk_write) || !openssl.BIO_meth_set_ctrl(method, desk_ctrl))
		return NULL;
	desk = openssl.BIO_new(method);
	if (desk)
		openssl.BIO_set_init(desk, 1);
	return desk;
}

/* Find one function. -1: ImportError is set. */
static int find_one(void *library, const char *name, void *where)
{
	void *function = dlsym(library, name);

	if (!function) {
		PyErr_Format(PyExc_ImportError, "the OpenSSL of Python's ssl has no %s", name);
		return -1;
	}
	memcpy(where, &function, sizeof(function));
	return 0;
}

/* Find the functions in the shared object `path`, which is loaded, or in what it is linked to. -1: as above. */
static int find_openssl(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);

	if (!library) {
		PyErr_Format(PyExc_ImportError, "Python's ssl is not loaded from %s", path);
		return -1;
	}
#define FIND(result, name, arguments) \
	if (find_one(library, #name, &openssl.name)) \
		return -1;
	OPENSSL(FIND)
#undef FIND
	return 0;
}
