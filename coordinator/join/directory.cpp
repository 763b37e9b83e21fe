#include "coordinator/join/directory.h"

#include <netdb.h>
#include <sasl/sasl.h>
#include <sys/socket.h>

#include "coordinator/join/ldap_calls.h"
#include "coordinator/join/ldap_search.h"
#include "coordinator/join/login_limit.h"
#include "coordinator/join/pipe_signal.h"

namespace roamstead::join {
namespace {

// The domain's own container for computers, by the GUID that MS-ADTS 6.1.1.4 gives it.
constexpr std::string_view kComputersContainer = "AA312825768811D1ADED00C04FD8D5CD";

// Kerberos knows who we are: every question is answered with its default, or nothing.
int answer_nothing(LDAP* /*connection*/, unsigned /*flags*/, void* /*defaults*/, void* questions) {
  for (auto* question = static_cast<sasl_interact_t*>(questions); question->id != SASL_CB_LIST_END;
       ++question) {
    question->result = question->defresult != nullptr ? question->defresult : "";
    question->len = static_cast<unsigned>(std::strlen(static_cast<const char*>(question->result)));
  }
  return LDAP_SUCCESS;
}

// What a controller of today's is (MS-ADTS 6.3.1.2): it has the directory, issues tickets, keeps time, can be
// written to, is near; the names are of DNS.
constexpr std::uint32_t kControllerFlags = 0xE0000000 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x100;

// "192.0.2.1", of the other end of the connection; "" where it cannot be told.
std::string peer_address(LDAP* connection) {
  int descriptor = -1;
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  char host[NI_MAXHOST] = {};
  if (ldap_get_option(connection, LDAP_OPT_DESC, &descriptor) != LDAP_SUCCESS ||
      ::getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&address), length, host, sizeof host, nullptr, 0,
                    NI_NUMERICHOST) != 0)
    return "";
  return host;
}

// The values of a distinguished name's parts, from the front.
std::vector<std::string> name_parts(const std::string& distinguished_name) {
  std::vector<std::string> values;
  LDAPDN parts = nullptr;
  if (ldap_str2dn(distinguished_name.c_str(), &parts, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS ||
      parts == nullptr)
    return values;
  for (auto** part = parts; *part != nullptr; ++part)
    values.emplace_back((*part)[0]->la_value.bv_val, (*part)[0]->la_value.bv_len);
  ldap_dnfree(parts);
  return values;
}

// "corp.example.com" of "DC=corp,DC=example,DC=com"; "" where it is not that.
std::string dns_name_of(const std::string& naming_context) {
  std::string name;
  for (const auto& part : name_parts(naming_context)) name += (name.empty() ? "" : ".") + part;
  return name;
}

}  // namespace

void Directory::Unbind::operator()(ldap* connection) const {
  const NoPipeSignal guard;
  ldap_unbind_ext(connection, nullptr, nullptr);
}

tl::unexpected<Error> Directory::failure(int code, const std::string& what) const {
  char* detail = nullptr;
  ldap_get_option(connection_.get(), LDAP_OPT_DIAGNOSTIC_MESSAGE, &detail);
  auto error = ldap_error(code, detail != nullptr ? detail : "", url_ + ": " + what);
  ldap_memfree(detail);
  return fail(std::move(error));
}

Result<Directory> Directory::connect(const DirectoryOptions& options) {
  const NoPipeSignal guard;
  const bool tls = options.url.starts_with("ldaps://");
  if (!tls && !options.url.starts_with("ldap://"))
    return fail(ErrorCode::invalid_argument,
                "\"" + options.url + "\" is no directory's address: ldap://HOST or ldaps://HOST");
  if (tls && options.bind_name.empty())
    return fail(ErrorCode::invalid_argument,
                options.url + ": Kerberos encrypts the connection itself; use ldap:// with it");
  Directory directory;
  directory.url_ = options.url;
  directory.timeout_ = options.timeout;
  LDAP* connection = nullptr;
  if (const int code = ldap_initialize(&connection, options.url.c_str()); code != LDAP_SUCCESS)
    return fail(ldap_error(code, "", options.url));
  directory.connection_.reset(connection);
  RS_CHECK(directory.secure(options));
  LoginLimit limit(options.timeout);
  const auto bound = directory.bind(options);
  if (!bound && limit.expired())
    return fail(ErrorCode::timeout, options.url + ": no log-in within " +
                                        std::to_string(options.timeout.count()) +
                                        " ms; check that a controller listens there");
  RS_CHECK(bound);
  RS_CHECK(directory.read_domain());
  return directory;
}

Result<void> Directory::secure(const DirectoryOptions& options) {
  auto* connection = connection_.get();
  const int version = LDAP_VERSION3, demand = LDAP_OPT_X_TLS_HARD, client = 0;
  const auto time = ldap_time(options.timeout);
  bool good = ldap_set_option(connection, LDAP_OPT_PROTOCOL_VERSION, &version) == LDAP_SUCCESS &&
              ldap_set_option(connection, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) == LDAP_SUCCESS &&
              ldap_set_option(connection, LDAP_OPT_NETWORK_TIMEOUT, &time) == LDAP_SUCCESS &&
              ldap_set_option(connection, LDAP_OPT_TIMEOUT, &time) == LDAP_SUCCESS &&
              ldap_set_option(connection, LDAP_OPT_CONNECT_CB, LoginLimit::callbacks()) == LDAP_SUCCESS;
  if (options.bind_name.empty()) {
    // Signed and sealed, or not at all. The controller's name is taken as given, never looked up backwards.
    char properties[] = "minssf=56,noanonymous,noplain";
    good = good && ldap_set_option(connection, LDAP_OPT_X_SASL_SECPROPS, properties) == LDAP_SUCCESS &&
           ldap_set_option(connection, LDAP_OPT_X_SASL_NOCANON, LDAP_OPT_ON) == LDAP_SUCCESS;
  } else {
    good = good && ldap_set_option(connection, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand) == LDAP_SUCCESS;
    if (!options.ca_file.empty())
      good = good &&
             ldap_set_option(connection, LDAP_OPT_X_TLS_CACERTFILE, options.ca_file.c_str()) == LDAP_SUCCESS;
    if (good && ldap_set_option(connection, LDAP_OPT_X_TLS_NEWCTX, &client) != LDAP_SUCCESS)
      return fail(ErrorCode::invalid_argument,
                  url_ + ": no certificates can be read from " +
                      (options.ca_file.empty() ? "the system's store" : options.ca_file));
  }
  if (!good) return fail(ErrorCode::internal, url_ + ": libldap does not take an option");
  return {};
}

Result<void> Directory::bind(const DirectoryOptions& options) {
  auto* connection = connection_.get();
  if (options.bind_name.empty()) {
    const int code = ldap_sasl_interactive_bind_s(connection, nullptr, "GSSAPI", nullptr, nullptr,
                                                  LDAP_SASL_QUIET, answer_nothing, nullptr);
    if (code != LDAP_SUCCESS) return failure(code, "cannot log in with Kerberos");
    return {};
  }
  if (options.bind_password.empty())  // the protocol would take that for an anonymous log-in, and agree
    return fail(ErrorCode::invalid_argument, url_ + ": no password for " + options.bind_name);
  if (url_.starts_with("ldap://"))
    if (const int code = ldap_start_tls_s(connection, nullptr, nullptr); code != LDAP_SUCCESS)
      return failure(code, "cannot begin TLS");
  auto password = options.bind_password;
  berval credentials{password.size(), reinterpret_cast<char*>(password.data())};
  const int code = ldap_sasl_bind_s(connection, options.bind_name.c_str(), LDAP_SASL_SIMPLE, &credentials,
                                    nullptr, nullptr, nullptr);
  if (code != LDAP_SUCCESS) return failure(code, "cannot log in as " + options.bind_name);
  return {};
}

Result<void> Directory::read_domain() {
  const LdapSearch search{connection_.get(), url_, timeout_};
  RS_TRY(const auto root, search.one("", {"defaultNamingContext", "configurationNamingContext",
                                          "rootDomainNamingContext", "dnsHostName", "serverName"}));
  naming_context_ = root.text("defaultNamingContext");
  if (naming_context_.empty())
    return fail(ErrorCode::unsupported, url_ + ": serves no domain; is it a domain controller?");
  RS_TRY(const auto domain, search.one(naming_context_, {"objectSid", "objectGUID"}));
  RS_TRY_CTX(domain_.sid, url_ + ": objectSid of " + naming_context_, Sid::from(domain.bytes("objectSid")));
  if (domain.bytes("objectGUID").size() != 16)
    return fail(ErrorCode::denied,
                url_ + ": objectGUID of " + naming_context_ + " cannot be read with this account");
  domain_.guid = Guid::from(domain.bytes("objectGUID"));
  RS_TRY(const auto partitions,
         search.all("CN=Partitions," + root.text("configurationNamingContext"), LDAP_SCOPE_ONELEVEL,
                    "(&(objectClass=crossRef)(nCName=" + LdapSearch::escaped(naming_context_) + "))",
                    {"nETBIOSName", "dnsRoot"}));
  if (partitions.empty())
    return fail(ErrorCode::not_found, url_ + ": the forest does not list " + naming_context_);
  domain_.netbios_name = partitions.front().text("nETBIOSName");
  domain_.dns_name = partitions.front().text("dnsRoot");
  domain_.dns_forest = dns_name_of(root.text("rootDomainNamingContext"));
  RS_CHECK_CTX(url_, check_domain(domain_));
  describe_controller(root.text("dnsHostName"), root.text("serverName"));
  return {};
}

void Directory::describe_controller(std::string_view host, const std::string& server_name) {
  controller_.name = "\\\\" + std::string(host);
  controller_.address = "\\\\" + peer_address(connection_.get());
  controller_.domain_guid = domain_.guid;
  controller_.domain_name = domain_.dns_name;
  controller_.forest_name = domain_.dns_forest;
  controller_.flags = kControllerFlags;
  // "CN=DC1,CN=Servers,CN=the site,CN=Sites,…"
  if (const auto parts = name_parts(server_name); parts.size() > 2) controller_.site = parts[2];
  controller_.client_site = controller_.site;
}

Result<std::string> Directory::container(std::string_view wanted) {
  const NoPipeSignal guard;
  const LdapSearch search{connection_.get(), url_, timeout_};
  const auto base = wanted.empty()
                        ? "<WKGUID=" + std::string(kComputersContainer) + "," + naming_context_ + ">"
                        : std::string(wanted);
  RS_TRY(auto entry, search.one(base, {"objectClass"}));
  return std::move(entry.distinguished_name);
}

}  // namespace roamstead::join
