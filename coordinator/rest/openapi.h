// The interface's description in OpenAPI 3.1, written from the tables it is served from.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace roamstead::rest {

// `least_role` says whom a command is for, by its name.
nlohmann::json openapi(const std::string& version,
                       const std::function<std::string(const std::string& command)>& least_role);

}  // namespace roamstead::rest
