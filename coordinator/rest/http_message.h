// HTTP/1.1 requests and answers (RFC 9110, RFC 9112), of which only what this interface needs is understood:
// a body has a Content-Length, targets are paths, lines end with CR LF. Everything else is refused, so that
// nothing can be read in two ways.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/result.h"

namespace roamstead::rest {

struct HttpRequest {
  std::string method;                          // "GET"
  std::string target;                          // as it came: "/v1/desktops?limit=2"
  std::vector<std::string> path;               // its segments, decoded: "v1", "desktops"
  std::map<std::string, std::string> query;    // decoded
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  const std::string* header(const std::string& lower_case_name) const {
    auto found = headers.find(lower_case_name);
    return found == headers.end() ? nullptr : &found->second;
  }
};

inline constexpr std::size_t kMaxHeadBytes = 16u << 10;
inline constexpr std::size_t kMaxHeaders = 64;
inline constexpr std::size_t kMaxTargetBytes = 4096;
inline constexpr std::size_t kMaxBodyBytes = 64u << 10;
inline constexpr std::size_t kMaxSegments = 12;

// What cannot be understood, with the status to answer; the connection ends after it.
struct HttpRefusal {
  int status = 400;
  std::string why;
};
template <class T>
using HttpResult = tl::expected<T, HttpRefusal>;

// `head` is all before the empty line, with the end of the last line. Foreign input.
HttpResult<HttpRequest> parse_head(std::string_view head);
// How long the body is that follows; refused beyond kMaxBodyBytes.
HttpResult<std::size_t> body_length(const HttpRequest& request);
// "%41" to "A". Nothing for broken encodings, control characters, and what is not UTF-8.
bool percent_decode(std::string_view text, std::string& decoded);
std::string percent_encode(std::string_view text);

// Where a long answer is written as it comes to be.
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  // Whether the peer still takes it, in time.
  virtual bool write(std::string_view text) = 0;
  // Ends with the connection, or the server.
  virtual bool is_open() = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  // Instead of a body: called once, on the connection's thread, which ends with it.
  std::function<void(ResponseSink&)> stream = {};
  bool close = false;
};

// Status line and header fields with the empty line. `close` says that no other request is answered.
std::string response_head(const HttpResponse& response, bool close);
const char* reason_of(int status);

}  // namespace roamstead::rest
