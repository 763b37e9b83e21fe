// HTTP/1.1 over TLS 1.3 for clients that show a certificate. Written for few clients and for hostile ones:
// every connection has a thread of its own, everything is bounded in number, size and time, and nothing that
// a client says is looked at before `admit` knows its certificate.
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "coordinator/rest/http_message.h"

namespace roamstead::rest {

struct HttpsLimits {
  std::size_t connections = 64;
  std::size_t handshakes_of_address = 8;   // connections of one address (IPv6: /64) that are not admitted yet
  std::size_t connections_of_client = 16;  // of one name
  std::size_t requests_of_connection = 1000;
  std::chrono::milliseconds handshake{10'000};
  std::chrono::milliseconds idle{30'000};     // until a request begins
  std::chrono::milliseconds request{15'000};  // from its first byte to its last
  std::chrono::milliseconds answer{10'000};   // for the client to take it
};

struct HttpsClient {
  std::string name;
  std::string address;  // without the port
};

class HttpsServer {
 public:
  struct Handlers {
    // Called when a connection is to be set up, now and then a new one. The server keeps a share of it.
    std::function<Result<std::shared_ptr<SSL_CTX>>()> context;
    // Who shows this certificate; ErrorCode::denied. After the handshake, before anything is read.
    std::function<Result<HttpsClient>(SSL* ssl, const std::string& address)> admit;
    // On the connection's thread. Asks itself anew whether the client still may.
    std::function<HttpResponse(const HttpsClient& client, SSL* ssl, const HttpRequest& request)> answer;
    // What is said where a request cannot be understood, or its client is not admitted (403).
    std::function<HttpResponse(const HttpRefusal& refusal)> refuse;
    // Told of handshakes that failed and of who was not admitted.
    std::function<void(const std::string& address, const Error& why)> note_refused;
  };

  // Listens when it returns. `address`: "127.0.0.1:7443", "[::1]:0".
  static Result<std::unique_ptr<HttpsServer>> start(const std::string& address, Handlers handlers,
                                                    HttpsLimits limits = {});
  ~HttpsServer();  // stop()

  const std::string& address() const;
  // Takes no more connections and ends all; what is being answered is finished, unless it is a stream.
  void stop();

 private:
  class Impl;
  explicit HttpsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roamstead::rest
