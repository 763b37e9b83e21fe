// A desktop that saves something every 50 ms and reports at the end of its input: desktop IDENTITY ADDRESS
// PROFILE. Fails when a batch is refused, forked, or does not follow the one before.
#include <poll.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <iterator>

#include "common/wire/tls_link.h"
#include "coordinator/server/testing/sample_batch.h"

namespace {

using namespace roamstead;

std::string text_of(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

Result<std::uint64_t> save_until_input_ends(const wire::TlsLinkOptions& options, const std::string& profile) {
  RS_TRY(auto link, wire::TlsLink::create(options));
  RS_TRY(auto session, link->open({profile, "Users/" + profile, {}}));
  auto version = session.version;
  std::uint64_t ordinal = 0;
  for (pollfd input{STDIN_FILENO, POLLIN, 0}; ::poll(&input, 1, 50) == 0;) {
    server::SampleBatch batch(session.incarnation, ++ordinal, {{"counter", std::to_string(ordinal)}});
    RS_TRY(auto reply, link->commit(session.session_secret, batch.batch, batch));
    if (reply.forked || reply.version != version + 1)
      return fail(ErrorCode::conflict, "batch " + std::to_string(ordinal) + " became version " +
                                           std::to_string(reply.version) + (reply.forked ? ", a fork" : ""));
    version = reply.version;
    std::cout << "." << std::flush;
  }
  RS_CHECK(link->close(session.session_secret));
  return version;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  std::string identity = argv[1];
  wire::TlsLinkOptions options;
  options.address = argv[2];
  options.certificate_pem = text_of(identity + "/cert.pem");
  options.key_pem = text_of(identity + "/key.pem");
  options.ca_pem = text_of(identity + "/ca.pem");
  auto version = save_until_input_ends(options, argv[3]);
  if (version) {
    std::cout << "\nversion " << *version << '\n';
    return 0;
  }
  std::cerr << "desktop: " << version.error().to_string() << '\n';
  return 1;
}
