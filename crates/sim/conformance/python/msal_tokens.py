"""msal: tokens with every kind of credential."""

import msal

from report import Report, equal, true
from simulator import SCOPE, Simulator, certificate

report = Report(f"msal {msal.__version__} (Python)")


def application(simulator, credential, **more):
    return msal.ConfidentialClientApplication(
        simulator.client,
        client_credential=credential,
        authority=simulator.authority,
        instance_discovery=False,
        verify=simulator.ca_file,
        **more,
    )


def token(simulator, credential):
    answer = application(simulator, credential).acquire_token_for_client([SCOPE])
    true("access_token" in answer, f"no token: {answer.get('error_description')}")
    equal(answer["token_type"], "Bearer", "token_type")
    return answer


@report.capability("token by secret")
def by_secret(simulator):
    app = application(simulator, simulator.secret)
    first = app.acquire_token_for_client([SCOPE])
    true("access_token" in first, f"no token: {first.get('error_description')}")
    equal(app.acquire_token_for_client([SCOPE]).get("token_source"), "cache", "second token")


@report.capability("wrong secret refused")
def wrong_secret(simulator):
    answer = application(simulator, "wrong").acquire_token_for_client([SCOPE])
    equal(answer.get("error"), "invalid_client", "error")
    equal(answer.get("error_codes"), [7000215], "error_codes")
    true(answer.get("correlation_id"), "correlation_id is missing")


@report.capability("expired secret refused")
def expired_secret(simulator):
    simulator.switch("secret.expire", True)
    try:
        answer = application(simulator, simulator.secret).acquire_token_for_client([SCOPE])
        equal(answer.get("error_codes"), [7000222], "error_codes")
    finally:
        simulator.switch("secret.expire", False)


@report.capability("certificate, RS256 x5t")
def by_thumbprint(simulator):
    private, public, thumbprint = certificate()
    simulator.add_certificate(public)
    token(simulator, {"private_key": private, "thumbprint": thumbprint})


@report.capability("certificate, PS256 x5t#S256")
def by_certificate(simulator):
    private, public, _ = certificate()
    simulator.add_certificate(public)
    token(simulator, {"private_key": private, "public_certificate": public})


@report.capability("unknown certificate refused")
def unknown_certificate(simulator):
    private, public, _ = certificate()
    app = application(simulator, {"private_key": private, "public_certificate": public})
    equal(app.acquire_token_for_client([SCOPE]).get("error_codes"), [700027], "error_codes")


@report.capability("federated assertion")
def by_federation(simulator):
    import jwt
    import time
    from cryptography.hazmat.primitives import serialization

    private, _, _ = certificate()
    key = serialization.load_pem_private_key(private.encode(), None)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    simulator.add_federation("https://issuer.example", "system:postroom", public.decode())
    now = int(time.time())
    claims = {"iss": "https://issuer.example", "sub": "system:postroom", "aud": "api://AzureADTokenExchange"}
    assertion = jwt.encode(claims | {"iat": now, "nbf": now, "exp": now + 600}, private, algorithm="RS256")
    token(simulator, {"client_assertion": assertion})


report.run(Simulator.from_arguments())
