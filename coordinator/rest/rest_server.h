// The REST interface (docs/rest.md): TLS 1.3, only for certificates of administrators, which are looked up
// anew for every request.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "coordinator/rest/https_server.h"
#include "coordinator/server/commands.h"

namespace roamstead::rest {

struct RestOptions {
  std::string listen;              // "127.0.0.1:7443"; port 0: any
  std::vector<std::string> names;  // further names for the certificate
  std::string version;             // of the program
  HttpsLimits limits = {};
};

class RestServer {
 public:
  // Listens when it returns. What `context` refers to must outlive it.
  static Result<std::unique_ptr<RestServer>> start(const RestOptions& options,
                                                   std::function<server::CommandContext()> context);
  ~RestServer();  // finishes what is being answered

  const std::string& address() const;

 private:
  class Impl;
  explicit RestServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roamstead::rest
