// Errors as RFC 9457 has them. Each kind has a type that never changes, by which programs tell them apart.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "coordinator/rest/http_message.h"

namespace roamstead::rest {

struct ProblemKind {
  std::string slug;  // of the type: "urn:roamstead:problem:" and this
  int status = 500;
  std::string title;
};
const std::vector<ProblemKind>& problem_kinds();
std::string problem_type(const ProblemKind& kind);

// What went wrong with a command.
const ProblemKind& kind_of(ErrorCode code);
// By its slug; one that is not there is a bug.
const ProblemKind& problem_kind(const std::string& slug);

nlohmann::json problem(const ProblemKind& kind, const std::string& detail, const std::string& instance = "");
HttpResponse problem_response(const ProblemKind& kind, const std::string& detail,
                              const std::string& instance = "");
HttpResponse problem_response(const nlohmann::json& problem);
// Of a request that could not be read.
HttpResponse problem_response(const HttpRefusal& refusal);

}  // namespace roamstead::rest
