#include "coordinator/rest/problem.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace roamstead::rest {
namespace {

using nlohmann::json;

constexpr const char* kContentType = "application/problem+json";

}  // namespace

const std::vector<ProblemKind>& problem_kinds() {
  static const std::vector<ProblemKind> kinds{
      // Of commands, by ErrorCode.
      {"invalid-argument", 422, "What is asked for cannot be"},
      {"not-found", 404, "There is no such thing"},
      {"exists", 409, "It is there already"},
      {"corrupt", 500, "What is stored is damaged"},
      {"unsupported", 501, "This is not supported"},
      {"io", 500, "The storage failed"},
      {"full", 507, "There is no space left"},
      {"denied", 403, "Not allowed"},
      {"busy", 503, "Held by somebody else just now; try again"},
      {"stale", 409, "Superseded by something newer"},
      {"conflict", 409, "In conflict with how things are"},
      {"cancelled", 503, "It was cancelled; try again"},
      {"timeout", 504, "It took too long"},
      {"unavailable", 503, "The other side cannot be reached; try again"},
      {"protocol", 500, "The other side broke the protocol"},
      {"internal", 500, "A bug of the coordinator"},
      // Of requests.
      {"bad-request", 400, "The request cannot be understood"},
      {"invalid-fields", 422, "Fields of the request are wrong"},
      {"invalid-cursor", 400, "This cursor is not one of this list"},
      {"no-such-path", 404, "There is nothing at this path"},
      {"method-not-allowed", 405, "The path does not have this method"},
      {"not-json", 415, "A body is application/json"},
      {"precondition-failed", 412, "It has changed meanwhile"},
      {"key-reused", 422, "The idempotency key was used for another request"},
      {"key-in-use", 409, "The request with this idempotency key is under way, or how it ended is not known"},
      {"too-many", 429, "Too much at once"},
      {"interrupted", 503, "The coordinator ended before it was done"},
  };
  return kinds;
}

std::string problem_type(const ProblemKind& kind) { return "urn:roamstead:problem:" + kind.slug; }

const ProblemKind& problem_kind(const std::string& slug) {
  for (const auto& kind : problem_kinds())
    if (kind.slug == slug) return kind;
  throw std::logic_error("no kind of problem " + slug);
}

const ProblemKind& kind_of(ErrorCode code) {
  std::string slug(to_string(code));
  for (auto& c : slug)
    if (c == '_') c = '-';
  return problem_kind(slug);
}

json problem(const ProblemKind& kind, const std::string& detail, const std::string& instance) {
  json object{
      {"type", problem_type(kind)}, {"title", kind.title}, {"status", kind.status}, {"detail", detail}};
  if (!instance.empty()) object["instance"] = instance;
  return object;
}

HttpResponse problem_response(const json& problem) {
  HttpResponse response;
  response.status = problem.at("status").get<int>();
  response.content_type = kContentType;
  response.body = problem.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  if (response.status == 503 || response.status == 429) response.headers.emplace_back("Retry-After", "2");
  return response;
}

HttpResponse problem_response(const ProblemKind& kind, const std::string& detail,
                              const std::string& instance) {
  return problem_response(problem(kind, detail, instance));
}

HttpResponse problem_response(const HttpRefusal& refusal) {
  const char* slug = refusal.status == 403 ? "denied" : refusal.status == 429 ? "too-many" : "bad-request";
  auto object = problem(problem_kind(slug), refusal.why);
  object["status"] = refusal.status;
  auto response = problem_response(object);
  response.close = true;
  return response;
}

}  // namespace roamstead::rest
