#include "coordinator/rest/http_message.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::rest {
namespace {

tl::unexpected<HttpRefusal> refuse_http(int status, std::string why) {
  return tl::unexpected<HttpRefusal>(HttpRefusal{status, std::move(why)});
}

// RFC 9110, 5.6.2
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

std::string in_lower_case(std::string_view text) {
  std::string lower(text);
  for (auto& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

HttpResult<std::vector<std::string>> parse_path(std::string_view path) {
  std::vector<std::string> segments;
  if (path == "/") return segments;
  for (std::size_t at = 1; at <= path.size();) {
    const auto slash = std::min(path.find('/', at), path.size());
    std::string segment;
    if (!percent_decode(path.substr(at, slash - at), segment))
      return refuse_http(400, "the path is not well encoded");
    // A name never is one of these, and none that could be taken for another path.
    if (segment.empty() || segment == "." || segment == ".." || segment.find('/') != std::string::npos)
      return refuse_http(400, "the path has an impossible part");
    if (segments.size() == kMaxSegments) return refuse_http(400, "the path has too many parts");
    segments.push_back(std::move(segment));
    at = slash + 1;
  }
  return segments;
}

HttpResult<std::map<std::string, std::string>> parse_query(std::string_view query) {
  std::map<std::string, std::string> values;
  for (std::size_t at = 0; at < query.size();) {
    const auto end = std::min(query.find('&', at), query.size());
    const auto pair = query.substr(at, end - at);
    const auto equals = std::min(pair.find('='), pair.size());
    std::string name, value;
    if (!percent_decode(pair.substr(0, equals), name) ||
        !percent_decode(pair.substr(std::min(equals + 1, pair.size())), value))
      return refuse_http(400, "the query is not well encoded");
    if (!values.emplace(name, value).second) return refuse_http(400, "the query names '" + name + "' twice");
    at = end + 1;
  }
  return values;
}

HttpResult<void> parse_target(HttpRequest& request) {
  std::string_view target = request.target;
  if (target.size() > kMaxTargetBytes) return refuse_http(414, "the target is too long");
  if (target.empty() || target.front() != '/' || !is_printable(target) ||
      target.find('#') != std::string_view::npos)
    return refuse_http(400, "the target is not a path");
  const auto mark = std::min(target.find('?'), target.size());
  auto path = parse_path(target.substr(0, mark));
  if (!path) return tl::unexpected(path.error());
  auto query = parse_query(target.substr(std::min(mark + 1, target.size())));
  if (!query) return tl::unexpected(query.error());
  request.path = std::move(*path);
  request.query = std::move(*query);
  return {};
}

HttpResult<void> parse_header(std::string_view line, HttpRequest& request) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
    return refuse_http(400, "a header field is malformed");
  auto value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  for (char c : value)
    if (c != '\t' && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f))
      return refuse_http(400, "a header field has control characters");
  if (request.headers.size() == kMaxHeaders) return refuse_http(431, "too many header fields");
  auto name = in_lower_case(line.substr(0, colon));
  auto [known, fresh] = request.headers.emplace(name, value);
  // What lists may be joined (RFC 9110, 5.3), but of these there is one, or two meanings.
  if (fresh) return {};
  for (const char* single : {"host", "content-length", "transfer-encoding", "content-type", "idempotency-key",
                             "if-match", "if-none-match", "last-event-id", "expect"})
    if (name == single) return refuse_http(400, std::string("two header fields ") + single);
  known->second += ", " + std::string(value);
  return {};
}

}  // namespace

bool percent_decode(std::string_view text, std::string& decoded) {
  decoded.clear();
  for (std::size_t at = 0; at < text.size(); ++at) {
    char c = text[at];
    if (c == '%') {
      if (at + 2 >= text.size()) return false;
      const int high = hex_digit(text[at + 1]), low = hex_digit(text[at + 2]);
      if (high < 0 || low < 0) return false;
      c = static_cast<char>(high * 16 + low);
      at += 2;
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
    decoded += c;
  }
  return is_wtf8(decoded);
}

std::string percent_encode(std::string_view text) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string encoded;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
        c == '_' || c == '~')
      encoded += c;
    else
      encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return encoded;
}

HttpResult<HttpRequest> parse_head(std::string_view head) {
  HttpRequest request;
  bool first = true;
  for (std::size_t at = 0; at < head.size();) {
    const auto end = head.find("\r\n", at);
    if (end == std::string_view::npos) return refuse_http(400, "a line does not end with CR LF");
    const auto line = head.substr(at, end - at);
    at = end + 2;
    if (!first) {
      if (auto parsed = parse_header(line, request); !parsed) return tl::unexpected(parsed.error());
      continue;
    }
    first = false;
    const auto method_end = line.find(' ');
    const auto target_end = line.rfind(' ');
    if (method_end == std::string_view::npos || method_end == target_end ||
        !is_token(line.substr(0, method_end)))
      return refuse_http(400, "this is no HTTP request");
    if (line.substr(target_end + 1) != "HTTP/1.1") return refuse_http(505, "only HTTP/1.1 is spoken here");
    request.method = line.substr(0, method_end);
    request.target = line.substr(method_end + 1, target_end - method_end - 1);
    if (auto parsed = parse_target(request); !parsed) return tl::unexpected(parsed.error());
  }
  if (first) return refuse_http(400, "this is no HTTP request");
  if (request.header("host") == nullptr) return refuse_http(400, "the header field Host is missing");
  return request;
}

HttpResult<std::size_t> body_length(const HttpRequest& request) {
  if (request.header("transfer-encoding") != nullptr)
    return refuse_http(501, "a body needs a Content-Length; transfer encodings are not understood");
  const auto* text = request.header("content-length");
  if (text == nullptr) return 0;
  if (text->empty() || text->find_first_not_of("0123456789") != std::string::npos)
    return refuse_http(400, "Content-Length is not a number");
  if (text->size() > 9 || std::stoul(*text) > kMaxBodyBytes)
    return refuse_http(413, "a body has at most " + std::to_string(kMaxBodyBytes) + " bytes");
  return std::stoul(*text);
}

const char* reason_of(int status) {
  struct Reason {
    int status;
    const char* text;
  };
  static constexpr Reason kReasons[] = {{200, "OK"},
                                        {201, "Created"},
                                        {202, "Accepted"},
                                        {304, "Not Modified"},
                                        {400, "Bad Request"},
                                        {403, "Forbidden"},
                                        {404, "Not Found"},
                                        {405, "Method Not Allowed"},
                                        {408, "Request Timeout"},
                                        {409, "Conflict"},
                                        {412, "Precondition Failed"},
                                        {413, "Content Too Large"},
                                        {414, "URI Too Long"},
                                        {415, "Unsupported Media Type"},
                                        {417, "Expectation Failed"},
                                        {422, "Unprocessable Content"},
                                        {429, "Too Many Requests"},
                                        {431, "Request Header Fields Too Large"},
                                        {500, "Internal Server Error"},
                                        {501, "Not Implemented"},
                                        {503, "Service Unavailable"},
                                        {504, "Gateway Timeout"},
                                        {505, "HTTP Version Not Supported"},
                                        {507, "Insufficient Storage"}};
  for (const auto& each : kReasons)
    if (each.status == status) return each.text;
  return "Unknown";
}

std::string response_head(const HttpResponse& response, bool close) {
  std::string head =
      "HTTP/1.1 " + std::to_string(response.status) + " " + reason_of(response.status) + "\r\n";
  if (response.status != 304) head += "Content-Type: " + response.content_type + "\r\n";
  if (!response.stream && response.status != 304)
    head += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  head += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
  for (const auto& [name, value] : response.headers) head += name + ": " + value + "\r\n";
  if (close) head += "Connection: close\r\n";
  return head + "\r\n";
}

}  // namespace roamstead::rest
