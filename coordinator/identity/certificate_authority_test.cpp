#include "coordinator/identity/certificate_authority.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "tests/support/crash_file_system.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::identity {
namespace {

void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
bool shell(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

TEST_CASE("certificates satisfy the openssl command, each for its own purpose only") {
  support::TemporaryDirectory folder;
  auto ca = CertificateAuthority::open_or_create(os::real_file_system(), folder / "ca");
  REQUIRE(ca);
  auto desktop = ca->issue_desktop("desk-a");
  auto server = ca->issue_server({"coordinator.roamstead.internal", "127.0.0.1", "::1"});
  REQUIRE(desktop);
  REQUIRE(server);
  write(folder / "ca.pem", ca->certificate_pem());
  write(folder / "desktop.pem", desktop->certificate_pem);
  write(folder / "server.pem", server->certificate_pem);
  auto verify = "openssl verify -x509_strict -CAfile " + (folder / "ca.pem") + " -purpose ";
  CHECK(shell(verify + "sslclient " + (folder / "desktop.pem")));
  CHECK(
      shell(verify + "sslserver -verify_hostname coordinator.roamstead.internal " + (folder / "server.pem")));
  CHECK(shell(verify + "sslserver -verify_ip 127.0.0.1 " + (folder / "server.pem")));
  CHECK(!shell(verify + "sslserver " + (folder / "desktop.pem")));
  CHECK(!shell(verify + "sslclient " + (folder / "server.pem")));
  CHECK(!shell(verify + "sslserver -verify_hostname elsewhere " + (folder / "server.pem")));
  auto other = CertificateAuthority::open_or_create(os::real_file_system(), folder / "other");
  REQUIRE(other);
  write(folder / "ca.pem", other->certificate_pem());
  CHECK(!shell(verify + "sslclient " + (folder / "desktop.pem")));
}

TEST_CASE("the authority is the same after a restart, and its key is for nobody else to read") {
  support::TemporaryDirectory folder;
  auto first = CertificateAuthority::open_or_create(os::real_file_system(), folder / "ca");
  auto second = CertificateAuthority::open_or_create(os::real_file_system(), folder / "ca");
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->certificate_pem() == second->certificate_pem());
  struct stat status {};
  REQUIRE(stat((folder / "ca/ca-key.pem").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
}

TEST_CASE("the authority's certificate is renewed in time for the same key: old and new go together") {
  support::TemporaryDirectory folder;
  auto& files = os::real_file_system();
  auto before = CertificateAuthority::open_or_create(files, folder / "ca").value();
  auto old_desktop = before.issue_desktop("old").value();
  Validity always;
  always.authority_renewed_before_end = std::chrono::hours(30 * 365 * 24);
  auto after = CertificateAuthority::open_or_create(files, folder / "ca", always).value();
  CHECK(after.certificate_pem() != before.certificate_pem());
  auto again = CertificateAuthority::open_or_create(files, folder / "ca").value();
  CHECK(again.certificate_pem() == after.certificate_pem());  // it was saved, and is not due again
  auto new_desktop = after.issue_desktop("new").value();
  write(folder / "before.pem", before.certificate_pem());
  write(folder / "after.pem", after.certificate_pem());
  write(folder / "old.pem", old_desktop.certificate_pem);
  write(folder / "new.pem", new_desktop.certificate_pem);
  for (const char* authority : {"before.pem", "after.pem"})
    for (const char* desktop : {"old.pem", "new.pem"})
      CHECK(shell("openssl verify -x509_strict -purpose sslclient -CAfile " + (folder / authority) + " " +
                  (folder / desktop)));
}

TEST_CASE("a key that does not belong to the certificate is refused") {
  support::TemporaryDirectory folder;
  REQUIRE(CertificateAuthority::open_or_create(os::real_file_system(), folder / "ca"));
  REQUIRE(CertificateAuthority::open_or_create(os::real_file_system(), folder / "other"));
  CHECK(shell("cp " + (folder / "other/ca-key.pem") + " " + (folder / "ca/ca-key.pem")));
  auto mixed = CertificateAuthority::open_or_create(os::real_file_system(), folder / "ca");
  REQUIRE(!mixed);
  CHECK(mixed.error().code == ErrorCode::corrupt);
  write(folder / "ca/ca-key.pem", "garbage");
  CHECK(!CertificateAuthority::open_or_create(os::real_file_system(), folder / "ca"));
}

TEST_CASE("power lost while the authority is made leaves none or a whole one") {
  support::CrashFileSystem whole;
  REQUIRE(CertificateAuthority::open_or_create(whole, "/state/ca"));
  for (std::uint64_t at = 0; at <= whole.operations(); ++at) {
    support::CrashFileSystem files;
    files.crash_after(at);
    auto first = CertificateAuthority::open_or_create(files, "/state/ca");
    CHECK(first.has_value() == (at >= whole.operations()));
    files.power_loss(at);
    auto again = CertificateAuthority::open_or_create(files, "/state/ca");
    REQUIRE(again);
    if (first) CHECK(again->certificate_pem() == first->certificate_pem());
  }
}

TEST_CASE("names that could mean something else in a certificate are refused") {
  support::CrashFileSystem files;
  auto ca = CertificateAuthority::open_or_create(files, "/ca");
  REQUIRE(ca);
  for (const char* name : {"", "-a", ".a", "a b", "a,DNS:b", "a/b", "a\nb", "../a", "\xc3\xa4"}) {
    CHECK(!ca->issue_desktop(name));
    CHECK(!check_desktop_name(name));
  }
  CHECK(!ca->issue_desktop(std::string(64, 'a')));
  CHECK(ca->issue_desktop(std::string(63, 'a')));
  CHECK(!ca->issue_server({"a,DNS:b"}));
}

}  // namespace
}  // namespace roamstead::identity
