// OpenSSL's objects with owners, and its errors as ours.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "common/base/result.h"

namespace roamstead::wire {

namespace detail {
template <auto Free>
struct FreeBy {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
template <class T>
T freed_by(void (*)(T*));
template <class T>
T freed_by(int (*)(T*));
}  // namespace detail

// Of what FREE frees: OpenSslHandle<X509_free> owns an X509.
template <auto Free>
using OpenSslHandle = std::unique_ptr<decltype(detail::freed_by(Free)), detail::FreeBy<Free>>;

using BioHandle = OpenSslHandle<BIO_free>;
using CertificateHandle = OpenSslHandle<X509_free>;
using KeyHandle = OpenSslHandle<EVP_PKEY_free>;
using RequestHandle = OpenSslHandle<X509_REQ_free>;

// What the library says of its last failure in this thread, which is taken from its queue, as the next call's
// failure would else be told as this one.
inline tl::unexpected<Error> openssl_failure(ErrorCode code, const std::string& what) {
  char text[256] = {};
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  ERR_clear_error();
  return fail(code, what + ": " + text);
}

}  // namespace roamstead::wire
