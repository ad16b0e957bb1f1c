// Package front puts the real host names of AWS before the simulated AWS. It is an
// HTTPS proxy on a loopback address that ends TLS with a CA of its own. A program
// with HTTPS_PROXY and AWS_CA_BUNDLE calls it as it calls AWS, so that a test sees the
// host, the signing region and the key of each call.
//
// Signed calls and AssumeRoleWithWebIdentity go to the simulated AWS, after two checks
// of AWS's: a host of AWS answers only to signatures for its own service and region,
// and a name that AWS does not have cannot be reached. The package itself serves the
// services that hand out credentials:
//
//	imds          instance metadata, version 2 (EC2 User Guide, "Use IMDS"), over
//	              plain HTTP at URL
//	container     the credential endpoint of ECS and of EKS Pod Identity, over plain
//	              HTTP at URL + ContainerPath (SDK reference guide, "Container
//	              credential provider")
//	portal.sso.*  GetRoleCredentials of IAM Identity Center
//	oidc.*        CreateToken, which refreshes a login of IAM Identity Center
//	signin.*      CreateOAuth2Token, which refreshes a login of "aws login"
//
// Shapes of responses and errors follow the models in the AWS SDK for Go: REST JSON
// with X-Amzn-Errortype for the last three.
package front
