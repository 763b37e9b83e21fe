#include "coordinator/http/health_server.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "tests/support/command.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;

namespace {

// Status, content type and body as another program's client sees them.
std::string get(const std::string& address, const std::string& path, std::size_t body_bytes = 0) {
  support::TemporaryDirectory folder;
  std::ofstream(folder / "get.py") << R"(
import http.client, sys
address, path, body = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = http.client.HTTPConnection(address, timeout=10)
client.request("POST" if body else "GET", path, b"x" * body if body else None)
reply = client.getresponse()
print(reply.status, reply.getheader("Content-Type"), reply.read().decode())
)";
  CHECK(support::run("cd " + folder.path() + " && python3 get.py " + address + " " + path + " " +
                     std::to_string(body_bytes) + " > reply"));
  std::ifstream file(folder / "reply");
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("Health: what monitoring asks is answered, and says why not") {
  metrics::Registry registry;
  registry.counter("roamstead_things", "Things").add(42);
  bool broken = false;
  auto server = http::HealthServer::start("127.0.0.1:0", registry, {{"loop", [] { return Result<void>(); }}},
                                          {{"listening", [] { return Result<void>(); }},
                                           {"repository",
                                            [&]() -> Result<void> {
                                              if (broken)
                                                return fail(ErrorCode::io, "pack 7: the disk \"is\" gone");
                                              return {};
                                            }}})
                    .value();
  const auto& address = server->address();
  CHECK(get(address, "/livez") ==
        "200 application/json {\"checks\":[{\"check\":\"loop\",\"ok\":true}],\"ok\":true}\n\n");
  CHECK(get(address, "/readyz").rfind("200 ", 0) == 0);
  broken = true;
  const auto unready = get(address, "/readyz");
  CHECK(unready.rfind("503 ", 0) == 0);
  CHECK(unready.find("{\"check\":\"listening\",\"ok\":true}") != std::string::npos);
  CHECK(unready.find("pack 7: the disk \\\"is\\\" gone") != std::string::npos);
  CHECK(get(address, "/livez").rfind("200 ", 0) == 0);
  const auto metrics = get(address, "/metrics");
  CHECK(metrics.rfind("200 application/openmetrics-text; version=1.0.0; charset=utf-8 ", 0) == 0);
  CHECK(metrics.find("roamstead_things_total 42\n") != std::string::npos);
  CHECK(get(address, "/elsewhere").rfind("404 ", 0) == 0);
  CHECK(get(address, "/livez", 100'000).rfind("413 ", 0) == 0);
}

TEST_CASE("Health: an address that cannot be listened on is an error that names it") {
  metrics::Registry registry;
  auto first = http::HealthServer::start("127.0.0.1:0", registry, {}, {}).value();
  for (const auto& address : {first->address(), std::string("nonsense"), std::string("127.0.0.1:65536"),
                              std::string("127.0.0.1:"), std::string("127.0.0.1:99999999999")}) {
    auto second = http::HealthServer::start(address, registry, {}, {});
    REQUIRE_FALSE(second);
    CHECK(second.error().to_string().find(address) != std::string::npos);
  }
}
